package mirror

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// Config holds the plugin's options as Traefik delivers them.
//
// Single values are strings, whatever they mean: labels deliver nothing else,
// Traefik's decoder turns numbers and booleans of other providers into strings,
// and one that does not parse is then reported by New together with all other
// mistakes, not by the decoder alone. White space around values is ignored.
type Config struct {
	// URL is the shadow upstream: http or https, a host, and optionally a base
	// path that is joined in front of the request's path. Required.
	URL string `json:"url"`

	// Percent is the share of eligible requests that are mirrored, 0 to 100,
	// fractions allowed.
	Percent string `json:"percent,omitempty"`

	// SampleBy is "header:NAME", "cookie:NAME" or "clientIP": requests with the
	// same value are all mirrored or all not, on every replica. Requests without
	// one are sampled at random. clientIP is the address of the connection's
	// other end, as in Traefik's ClientIP matcher.
	SampleBy string `json:"sampleBy,omitempty"`

	// Methods are the only HTTP methods to mirror, in any case; none means all.
	Methods []string `json:"methods,omitempty"`

	// MirrorBody is whether the shadow gets the request's body. If "false",
	// live's body streams through untouched, whatever its size.
	MirrorBody string `json:"mirrorBody,omitempty"`

	// MaxBodySize is the largest body that is mirrored, in bytes or with a unit
	// (kB, MB, GB; KiB, MiB, GiB), or -1 for no limit. A request with a larger
	// one goes to live whole and is not mirrored.
	MaxBodySize string `json:"maxBodySize,omitempty"`

	// BodyMode is "buffer": live gets the request once its body has come whole; or
	// "stream": live gets the body as it comes, and the shadow when live has read
	// it to its end.
	BodyMode string `json:"bodyMode,omitempty"`

	// MaxInFlight is how many requests the middleware mirrors at once, at least
	// 1. One more is not mirrored. It bounds memory, connections and goroutines.
	MaxInFlight string `json:"maxInFlight,omitempty"`

	// Timeout is for one whole exchange with the shadow, above 0: a Go duration
	// or a bare number of seconds.
	Timeout string `json:"timeout,omitempty"`

	// MaxPause is the longest that a shadow that keeps failing is left alone
	// before it is tried again, in the form of Timeout. "0": it is never left alone.
	MaxPause string `json:"maxPause,omitempty"`

	// PassHostHeader is whether the shadow gets the client's Host header. If
	// "false" it gets the host of URL.
	PassHostHeader string `json:"passHostHeader,omitempty"`

	// CustomRequestHeaders are set on the shadow's request only; an empty value
	// removes the header, as in Traefik's headers middleware.
	CustomRequestHeaders map[string]string `json:"customRequestHeaders,omitempty"`

	// TLS says how to talk to an https shadow.
	TLS *TLS `json:"tls,omitempty"`

	// Compare says how live's and the shadow's answers are compared; nil: they are
	// not. Any of its options turns it on.
	Compare *Compare `json:"compare,omitempty"`

	// Serve is whether the middleware mirrors nothing and answers every request
	// itself, with the report about all mirrors, as a page, as JSON and as metrics.
	Serve string `json:"serve,omitempty"`

	// Unknown collects options that do not exist, so that New can refuse them.
	Unknown map[string]interface{} `json:"-" mapstructure:",remain"`
}

// Compare holds the options for comparing answers. Those that are empty have
// their defaults.
type Compare struct {
	// Body is how bodies are compared: "json", the default: JSON as values, and
	// others as bytes; "exact": all as bytes; or "off".
	Body string `json:"body,omitempty"`

	// Headers are the headers of the answers to compare, besides the status.
	Headers []string `json:"headers,omitempty"`

	// Ignore are JSON paths to values that may differ, such as $.lines[*].updatedAt.
	Ignore []string `json:"ignore,omitempty"`

	// MaxBodySize is the largest body of an answer that is kept and compared, in
	// the form of Config.MaxBodySize, but with a limit; "64KiB" by default.
	MaxBodySize string `json:"maxBodySize,omitempty"`

	// Percent is the share of the mirrored requests that are compared, 0 to 100;
	// "100" by default.
	Percent string `json:"percent,omitempty"`

	// Keep is how many of the latest mismatches are kept for the report, 0 to
	// 1000; "20" by default.
	Keep string `json:"keep,omitempty"`

	// Show is how values that differ are shown in the report: "values", "hashes",
	// the default, or "none".
	Show string `json:"show,omitempty"`

	// Unknown collects options that do not exist, so that New can refuse them.
	Unknown map[string]interface{} `json:"-" mapstructure:",remain"`
}

// TLS holds the options for an https shadow. They mean what they mean in
// Traefik's serversTransport.
type TLS struct {
	// ServerName is the name asked for and expected in the certificate, instead
	// of URL's host.
	ServerName string `json:"serverName,omitempty"`

	// InsecureSkipVerify is whether any certificate is accepted.
	InsecureSkipVerify string `json:"insecureSkipVerify,omitempty"`

	// RootCAs are the authorities to trust instead of the system's: file names or PEM text.
	RootCAs []string `json:"rootCAs,omitempty"`

	// CertFile and KeyFile are the client's certificate and its key: file names or PEM text.
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`

	// Unknown collects options that do not exist, so that New can refuse them.
	Unknown map[string]interface{} `json:"-" mapstructure:",remain"`
}

// CreateConfig returns the options' defaults.
func CreateConfig() *Config {
	return &Config{
		Percent:        "100",
		MirrorBody:     "true",
		MaxBodySize:    "1MiB",
		BodyMode:       "buffer",
		MaxInFlight:    "100",
		Timeout:        "5s",
		MaxPause:       "30s",
		PassHostHeader: "true",
		Serve:          "false",
	}
}

// optionNames are all options by the names that users write.
var optionNames = []string{
	"url", "percent", "sampleBy", "methods", "mirrorBody", "maxBodySize", "bodyMode", "maxInFlight",
	"timeout", "maxPause", "passHostHeader", "customRequestHeaders",
	"tls", "tls.serverName", "tls.insecureSkipVerify", "tls.rootCAs", "tls.certFile", "tls.keyFile",
	"compare", "compare.body", "compare.headers", "compare.ignore", "compare.maxBodySize", "compare.percent", "compare.keep", "compare.show",
	"serve",
}

// options is a Config that has been found good.
type options struct {
	target         *url.URL
	percent        float64
	sampleBy       string          // as sampleValue takes it
	methods        map[string]bool // empty: all
	mirrorBody     bool
	maxBodySize    int64 // bytes; math.MaxInt64: no limit
	stream         bool  // bodyMode
	maxInFlight    int64
	timeout        time.Duration
	maxPause       time.Duration // 0: never
	passHostHeader bool
	setHeaders     http.Header    // canonical names
	removeHeaders  []string       // canonical names
	tlsConfig      *tls.Config    // nil: the defaults
	compare        *compare.Rules // nil: answers are not compared
	compareShare   float64        // of the mirrored requests, 0 to 1
	serve          bool

	// fingerprint is equal for options that are equal, the contents of the files
	// that they name included.
	fingerprint string
}

// parse checks every option and returns them all, or all that is wrong with
// them in one error.
func (c *Config) parse() (*options, error) {
	p := &parser{}
	if serve := p.boolean("serve", or(c.Serve, "false")); serve {
		return c.parseServing(p)
	}
	o := &options{
		target:         p.target(c.URL),
		percent:        p.percent("percent", c.Percent),
		sampleBy:       p.sampleBy(c.SampleBy),
		methods:        p.methods(c.Methods),
		mirrorBody:     p.boolean("mirrorBody", c.MirrorBody),
		maxBodySize:    p.size("maxBodySize", c.MaxBodySize),
		stream:         p.bodyMode(c.BodyMode),
		maxInFlight:    p.maxInFlight(c.MaxInFlight),
		timeout:        p.timeout(c.Timeout),
		maxPause:       p.maxPause(c.MaxPause),
		passHostHeader: p.boolean("passHostHeader", c.PassHostHeader),
	}
	o.setHeaders, o.removeHeaders = p.headers(c.CustomRequestHeaders)
	o.tlsConfig = p.tlsConfig(c.TLS)
	if c.Compare != nil {
		o.compare = p.compare(c.Compare)
		o.compareShare = p.percent("compare.percent", or(c.Compare.Percent, "100")) / 100
		p.unknown("compare.", c.Compare.Unknown)
	}
	p.unknown("", c.Unknown)
	if c.TLS != nil {
		p.unknown("tls.", c.TLS.Unknown)
	}
	if len(p.mistakes) > 0 {
		return nil, errors.New(strings.Join(p.mistakes, "; "))
	}
	// Printed maps are in the order of their keys.
	o.fingerprint = fmt.Sprint(o.target, o.percent, o.sampleBy, o.methods, o.mirrorBody, o.maxBodySize, o.stream, o.maxInFlight,
		o.timeout, o.maxPause, o.passHostHeader, o.setHeaders, o.removeHeaders, p.files, o.compareShare, c.Compare != nil)
	if o.compare != nil {
		o.fingerprint += fmt.Sprint(*o.compare)
	}
	return o, nil
}

// parseServing checks the options of a middleware that serves the report: there
// are none besides.
func (c *Config) parseServing(p *parser) (*options, error) {
	none := CreateConfig()
	for _, o := range []struct {
		name, value, none string
	}{
		{"url", c.URL, none.URL},
		{"percent", c.Percent, none.Percent},
		{"sampleBy", c.SampleBy, none.SampleBy},
		{"methods", strings.Join(c.Methods, ","), ""},
		{"mirrorBody", c.MirrorBody, none.MirrorBody},
		{"maxBodySize", c.MaxBodySize, none.MaxBodySize},
		{"bodyMode", c.BodyMode, none.BodyMode},
		{"maxInFlight", c.MaxInFlight, none.MaxInFlight},
		{"timeout", c.Timeout, none.Timeout},
		{"maxPause", c.MaxPause, none.MaxPause},
		{"passHostHeader", c.PassHostHeader, none.PassHostHeader},
	} {
		if strings.TrimSpace(o.value) != o.none {
			p.besideServe(o.name + ": " + strconv.Quote(withoutUser(o.value)))
		}
	}
	if len(c.CustomRequestHeaders) > 0 {
		p.besideServe("customRequestHeaders")
	}
	if c.TLS != nil {
		p.besideServe("tls")
	}
	if c.Compare != nil {
		p.besideServe("compare")
	}
	p.unknown("", c.Unknown)
	if len(p.mistakes) > 0 {
		return nil, errors.New(strings.Join(p.mistakes, "; "))
	}
	return &options{serve: true}, nil
}

// A parser turns the options' text into values and collects what is wrong.
type parser struct {
	mistakes []string
	files    []string // contents of the files that options name, and the other options of tls
}

// refuse notes that an option has a value that it does not take.
func (p *parser) refuse(option, value, takes string) {
	p.mistakes = append(p.mistakes, fmt.Sprintf("%s: %q: takes %s", option, value, takes))
}

// besideServe notes that a middleware that serves the report has an option of one
// that mirrors.
func (p *parser) besideServe(option string) {
	p.mistakes = append(p.mistakes, option+": takes nothing beside serve: a middleware mirrors, or it serves the report")
}

func (p *parser) target(s string) *url.URL {
	const takes = "an http or https URL with a host and optionally a base path, such as http://billing-next:8080/v2"
	s = strings.TrimSpace(s)
	if s == "" {
		p.mistakes = append(p.mistakes, "url: required: takes "+takes)
		return nil
	}
	u, err := url.Parse(s)
	s = withoutUser(s)
	switch {
	case err != nil:
		p.refuse("url", s, takes)
	case u.Scheme != "http" && u.Scheme != "https" || !validHost(u):
		p.refuse("url", s, takes)
	case u.User != nil:
		p.mistakes = append(p.mistakes, "url: has a user name: takes "+takes+"; set customRequestHeaders.Authorization for credentials")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		p.refuse("url", s, takes+"; the query is the request's own")
	}
	return u
}

// withoutUser returns a URL, good or not, without what may be a user name and a
// password: the log is no place for them.
func withoutUser(s string) string {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s
	}
	scheme := strings.Index(s, "//")
	if scheme < 0 || scheme > i {
		return "…" + s[i:]
	}
	return s[:scheme+2] + "…" + s[i:]
}

// validHost reports whether a URL has a host, and a port that can be dialed or
// none. The URL "http://a:1:" has the host "a:1" to net/url.
func validHost(u *url.URL) bool {
	host, port := u.Hostname(), u.Port()
	if host == "" || strings.Contains(host, ":") && !strings.HasPrefix(u.Host, "[") {
		return false
	}
	n, err := strconv.Atoi(port)
	return port == "" || err == nil && n > 0 && n < 1<<16
}

func (p *parser) percent(option, s string) float64 {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	// Written so that NaN is refused too.
	if err != nil || !(v >= 0 && v <= 100) {
		p.refuse(option, s, "a number from 0 to 100, fractions allowed")
	}
	return v
}

func (p *parser) sampleBy(s string) string {
	by, ok := parseSampleBy(strings.TrimSpace(s))
	if !ok {
		p.refuse("sampleBy", s, "header:NAME, cookie:NAME or clientIP")
	}
	return by
}

// methods returns the methods in upper case, as Traefik's Method matcher
// compares them.
func (p *parser) methods(list []string) map[string]bool {
	methods := map[string]bool{}
	for _, m := range list {
		m = strings.TrimSpace(m)
		if !isToken(m) {
			p.refuse("methods", m, "HTTP methods, such as POST,PUT")
			continue
		}
		methods[strings.ToUpper(m)] = true
	}
	return methods
}

func (p *parser) boolean(option, s string) bool {
	v, err := strconv.ParseBool(strings.TrimSpace(s))
	if err != nil {
		p.refuse(option, s, "true or false")
	}
	return v
}

func (p *parser) maxInFlight(s string) int64 {
	v, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
	if err != nil || v < 1 {
		p.refuse("maxInFlight", s, "a whole number, at least 1")
	}
	return v
}

// bodyMode reports whether the mode is stream.
func (p *parser) bodyMode(s string) bool {
	mode := strings.ToLower(strings.TrimSpace(s))
	if mode != "buffer" && mode != "stream" {
		p.refuse("bodyMode", s, "buffer or stream")
	}
	return mode == "stream"
}

func (p *parser) size(option, s string) int64 {
	v, ok := parseSize(strings.TrimSpace(s))
	if !ok {
		p.refuse(option, s, "a number of bytes, or one with a unit (512KiB, 10MB), at least 0, or -1 for no limit")
	}
	return v
}

// sizeUnits are the units of a size in lower case: powers of 1000 and of 1024.
var sizeUnits = map[string]float64{
	"": 1, "b": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}

// parseSize returns a number of bytes; math.MaxInt64 for -1, which is no limit.
func parseSize(s string) (int64, bool) {
	if s == "-1" {
		return math.MaxInt64, true
	}
	// Plain bytes are kept from floating point, which cannot hold them all.
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, n >= 0
	}
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit, known := sizeUnits[strings.ToLower(strings.TrimSpace(s[len(digits):]))]
	// ParseFloat takes more than a person would call a number: 0x1p4, 1e9, 1_0.
	if !known || digits == "" || strings.Trim(digits, "0123456789.") != "" {
		return 0, false
	}
	v, err := strconv.ParseFloat(digits, 64)
	v *= unit
	if err != nil || v >= math.MaxInt64 || v != math.Trunc(v) {
		return 0, false
	}
	return int64(v), true
}

func (p *parser) timeout(s string) time.Duration {
	v, ok := parseDuration(s)
	if !ok || v == 0 {
		p.refuse("timeout", s, "a duration above 0, such as 500ms or 5s, or a number of seconds")
	}
	return v
}

func (p *parser) maxPause(s string) time.Duration {
	v, ok := parseDuration(s)
	if !ok {
		p.refuse("maxPause", s, "a duration, such as 30s, or a number of seconds, or 0 for no pauses")
	}
	return v
}

// parseDuration returns a Go duration or, as everywhere in Traefik, a bare
// number of seconds; false for anything else and below 0.
func parseDuration(s string) (time.Duration, bool) {
	text := strings.TrimSpace(s)
	if _, err := strconv.ParseInt(text, 10, 32); err == nil {
		text += "s"
	}
	v, err := time.ParseDuration(text)
	return v, err == nil && v >= 0
}

// headers splits customRequestHeaders into those to set and those to remove.
func (p *parser) headers(custom map[string]string) (http.Header, []string) {
	set := http.Header{}
	var remove []string
	for name, value := range custom {
		option := "customRequestHeaders." + name
		key := http.CanonicalHeaderKey(strings.TrimSpace(name))
		switch {
		case !isToken(key):
			p.refuse(option, value, "the name of a header after the dot")
		case key == markerHeader:
			p.refuse(option, value, "any name but "+markerHeader+", which guards against loops")
		case key == "Host" && value == "":
			p.refuse(option, value, "a host: a request cannot be without one")
		case strings.ContainsAny(value, "\r\n\x00"):
			p.refuse(option, value, "a value on one line")
		case value == "":
			remove = append(remove, key)
		default:
			set[key] = []string{value}
		}
	}
	sort.Strings(remove)
	return set, remove
}

// isToken reports whether s can be a method or the name of a header or cookie
// (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	const tchar = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return s != "" && strings.Trim(s, tchar) == ""
}

func (p *parser) tlsConfig(c *TLS) *tls.Config {
	if c == nil {
		return nil
	}
	skip := c.InsecureSkipVerify != "" && p.boolean("tls.insecureSkipVerify", c.InsecureSkipVerify)
	conf := &tls.Config{
		ServerName:         strings.TrimSpace(c.ServerName),
		InsecureSkipVerify: skip,
		MinVersion:         tls.VersionTLS12,
	}
	p.files = append(p.files, conf.ServerName, strconv.FormatBool(skip))
	if len(c.RootCAs) > 0 {
		conf.RootCAs = x509.NewCertPool()
	}
	for _, ca := range c.RootCAs {
		if pem, ok := p.pem("tls.rootCAs", ca); ok && !conf.RootCAs.AppendCertsFromPEM(pem) {
			p.refuse("tls.rootCAs", shown(ca), "certificates as file names or PEM text")
		}
	}
	switch certSet, keySet := strings.TrimSpace(c.CertFile) != "", strings.TrimSpace(c.KeyFile) != ""; {
	case certSet && keySet:
		p.clientCertificate(conf, c)
	case certSet:
		p.refuse("tls.keyFile", "", "the key of tls.certFile, as a file name or PEM text")
	case keySet:
		p.refuse("tls.certFile", "", "the certificate of tls.keyFile, as a file name or PEM text")
	}
	return conf
}

func (p *parser) clientCertificate(conf *tls.Config, c *TLS) {
	certPEM, certRead := p.pem("tls.certFile", c.CertFile)
	keyPEM, keyRead := p.pem("tls.keyFile", c.KeyFile)
	if !certRead || !keyRead {
		return
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		p.refuse("tls.certFile", shown(c.CertFile), "a certificate that goes with tls.keyFile ("+err.Error()+")")
		return
	}
	conf.Certificates = []tls.Certificate{pair}
}

// pem returns PEM text that is given as such or as a file's name.
func (p *parser) pem(option, s string) ([]byte, bool) {
	text := []byte(strings.TrimSpace(s))
	if !strings.HasPrefix(string(text), "-----BEGIN") {
		var err error
		if text, err = os.ReadFile(string(text)); err != nil {
			p.refuse(option, shown(s), "a file that can be read, or PEM text")
			return nil, false
		}
	}
	p.files = append(p.files, string(text))
	return text, true
}

// shown is PEM text or a file's name as an error may show it: no keys, and
// nothing that could be one.
func shown(s string) string {
	if len(s) > 255 || strings.ContainsAny(s, "\r\n") {
		return "text of " + strconv.Itoa(len(s)) + " bytes"
	}
	return s
}

// compare returns the rules that compare's options give, defaults where they are
// empty.
func (p *parser) compare(c *Compare) *compare.Rules {
	r := &compare.Rules{
		Body:        p.word("compare.body", or(c.Body, compare.JSON), []string{compare.JSON, compare.Exact, compare.Off}),
		MaxBodySize: p.size("compare.maxBodySize", or(c.MaxBodySize, "64KiB")),
		Keep:        p.keep(or(c.Keep, "20")),
		Show:        p.word("compare.show", or(c.Show, compare.Hashes), []string{compare.Values, compare.Hashes, compare.None}),
		Kept:        []string{"Content-Type", "Content-Encoding"},
	}
	if r.MaxBodySize == math.MaxInt64 {
		p.refuse("compare.maxBodySize", c.MaxBodySize, "a number of bytes, or one with a unit (512KiB, 10MB), at least 0: what is kept has to have a limit")
	}
	for _, name := range c.Headers {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		if !isToken(name) {
			p.refuse("compare.headers", name, "names of headers, such as Cache-Control,Location")
			continue
		}
		r.Headers = append(r.Headers, name)
		r.Kept = append(r.Kept, name)
	}
	for _, text := range c.Ignore {
		text = strings.TrimSpace(text)
		path, err := compare.ParsePath(text)
		if err != nil {
			p.refuse("compare.ignore", text, err.Error())
			continue
		}
		r.Ignore = append(r.Ignore, path)
	}
	return r
}

// word returns the one of the words that s is, in any case.
func (p *parser) word(option, s string, words []string) string {
	text := strings.ToLower(strings.TrimSpace(s))
	for _, word := range words {
		if text == word {
			return word
		}
	}
	p.refuse(option, s, strings.Join(words[:len(words)-1], ", ")+" or "+words[len(words)-1])
	return ""
}

func (p *parser) keep(s string) int {
	v, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || v < 0 || v > 1000 {
		p.refuse("compare.keep", s, "a whole number from 0 to 1000")
	}
	return v
}

// or returns s, or the default where s is empty.
func or(s, def string) string {
	if strings.TrimSpace(s) == "" {
		return def
	}
	return s
}

// unknown refuses options that do not exist and suggests the nearest that does.
func (p *parser) unknown(prefix string, options map[string]interface{}) {
	var names []string
	for name := range options {
		names = append(names, prefix+name)
	}
	sort.Strings(names)
	for _, name := range names {
		p.mistakes = append(p.mistakes, fmt.Sprintf("%s: there is no such option; the nearest is %s", name, nearest(name)))
	}
}

// nearest returns the option whose name takes the fewest edits to get to.
func nearest(name string) string {
	best, fewest := "", math.MaxInt
	for _, option := range optionNames {
		if n := edits(strings.ToLower(name), strings.ToLower(option)); n < fewest {
			best, fewest = option, n
		}
	}
	return best
}

// edits is the Levenshtein distance of a and b, in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			n := diagonal
			if a[i-1] != b[j-1] {
				n++
			}
			if row[j]+1 < n {
				n = row[j] + 1
			}
			if row[j-1]+1 < n {
				n = row[j-1] + 1
			}
			diagonal, row[j] = row[j], n
		}
	}
	return row[len(b)]
}
