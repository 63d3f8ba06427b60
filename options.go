package mirror

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
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

// options are those of one middleware, read. They are good if nothing is mistaken.
type options struct {
	target         *url.URL
	percent        float64
	sampleBy       string          // as sampleValue takes it
	sequenceBy     string          // likewise; "": copies go in no sequence
	methods        map[string]bool // empty: all
	maxRate        int             // copies in any one second; 0: no limit
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
	requestID      string         // the header of that name; canonical
	control        *url.URL       // nil: there is none
	controlMethods map[string]bool
	serve          bool

	// fingerprint is equal for options that are equal, the contents of the files
	// that they name included.
	fingerprint string

	delivered  string // all that they were read from
	readsFiles bool   // but for files

	mistaken int      // how many mistakes there are
	mistakes []string // what they are, as many as fit on a line
	room     int      // that all of them would take
	unlikely []string // what is allowed, and hardly meant
}

// An option is all that is particular to one that people can set.
type option struct {
	name  string // as people write it, in any case
	def   string // the value where there is none
	takes string // what a message says of a value that it does not take
	list  bool   // text with commas between, or a list
	blank bool   // an empty value is as good as none

	secret   bool // its value is never shown
	group    bool // it holds the options whose names begin with its own
	switches bool // being given at all has an effect

	// read puts the value into parser.o, and returns false if the option does not
	// take it. It is called for the default too.
	read func(p *parser, v *given) bool
}

const (
	takesURL      = "an http, https or h2c URL with a host and optionally a base path, such as http://billing-next:8080/v2"
	takesPercent  = "a number from 0 to 100, fractions allowed"
	takesRate     = "a whole number of copies in any one second, from 1 to 100000, or nothing for no limit"
	takesBoolean  = "true or false"
	takesSize     = "a number of bytes, or one with a unit (512KiB, 10MB), at least 0, or -1 for no limit"
	takesLimit    = "a number of bytes, or one with a unit (512KiB, 10MB), at least 0: what is kept has to have a limit"
	takesPEM      = "a file that can be read, or PEM text"
	takesHeaders  = "names of headers, each with a text on one line, or \"\" for one to remove; of a file's, Traefik drops those that have nothing after the colon"
	headersPrefix = "customrequestheaders."
)

// optionTable is all there is to say about each option, and the only place where
// it is said. Messages name mistakes in its order. A group comes before what it holds.
var optionTable = []option{
	// The shadow upstream: http, https or h2c, a host, and optionally a base path that is
	// joined in front of the request's path. Required.
	{name: "url", takes: takesURL, read: readURL},

	// The share of eligible requests that are mirrored.
	{name: "percent", def: "100", takes: takesPercent, read: readPercent},

	// At most so many copies are sent in any one second.
	{name: "maxRate", takes: takesRate, read: readMaxRate},

	// Requests with the same value are all mirrored or all not, on every replica.
	// Those without one are sampled at random. clientIP is the address of the
	// connection's other end, as in Traefik's ClientIP matcher.
	{name: "sampleBy", takes: "header:NAME, cookie:NAME or clientIP", read: readSampleBy},

	// Copies with the same value reach the shadow one after the other, in live's order.
	{name: "sequenceBy", takes: "header:NAME, cookie:NAME or clientIP", read: readSequenceBy},

	// The only HTTP methods to mirror, in any case; none means all.
	{name: "methods", takes: "HTTP methods, such as POST,PUT", list: true, read: readMethods},

	// Whether the shadow gets the request's body. If not, live's body streams
	// through untouched, whatever its size.
	{name: "mirrorBody", def: "true", takes: takesBoolean, read: readMirrorBody},

	// The largest body that is mirrored. A request with a larger one goes to live
	// whole and is not mirrored.
	{name: "maxBodySize", def: "1MiB", takes: takesSize, read: readMaxBodySize},

	// buffer: live gets the request once its body has come whole; stream: live gets
	// the body as it comes, and the shadow when live has read it to its end.
	{name: "bodyMode", def: "buffer", takes: "buffer or stream", read: readBodyMode},

	// How many requests the middleware mirrors at once. One more is not mirrored. It
	// bounds memory, connections and goroutines.
	{name: "maxInFlight", def: "100", takes: "a whole number, at least 1", read: readMaxInFlight},

	// For one whole exchange with the shadow.
	{name: "timeout", def: "5s", takes: "a duration above 0, such as 500ms or 5s, or a number of seconds", read: readTimeout},

	// The longest that a shadow that keeps failing is left alone before it is tried
	// again.
	{name: "maxPause", def: "30s", takes: "a duration, such as 30s, or a number of seconds, or 0 for no pauses", read: readMaxPause},

	// Whether the shadow gets the client's Host header, and not the host of url.
	{name: "passHostHeader", def: "true", takes: takesBoolean, read: readPassHostHeader},

	// Set on the shadow's request only; an empty value removes the header, as in
	// Traefik's headers middleware. The entries are read by readHeaders.
	{name: "customRequestHeaders", group: true, secret: true, takes: takesHeaders, read: readHeadersGroup},

	// How to talk to an https shadow: as in Traefik's serversTransport.
	{name: "tls", group: true, takes: "its options, such as tls.rootCAs", read: readTLS},

	// The name asked for and expected in the certificate, instead of url's host.
	{name: "tls.serverName", blank: true, takes: "the name of a host", read: readServerName},

	// Whether any certificate is accepted.
	{name: "tls.insecureSkipVerify", def: "false", blank: true, takes: takesBoolean, read: readInsecureSkipVerify},

	// The authorities to trust instead of the system's: file names or PEM text.
	{name: "tls.rootCAs", list: true, blank: true, takes: "certificates as file names or PEM text", read: readRootCAs},

	// The client's certificate and its key: file names or PEM text.
	{name: "tls.certFile", blank: true, takes: takesPEM, read: readCertFile},
	{name: "tls.keyFile", blank: true, takes: takesPEM, read: readKeyFile},

	// Whether live's and the shadow's answers are compared. Any of its options turns
	// it on, and so do true and nothing.
	{name: "compare", def: "false", group: true, switches: true, takes: "true, false, or its options, such as compare.ignore", read: readCompare},

	// json: bodies by what is in them, where that is known, and others as bytes; exact:
	// all as bytes.
	{name: "compare.body", def: compare.JSON, blank: true, takes: "json, exact or off", read: readCompareBody},

	// Headers of the answers to compare besides those that are by default.
	{name: "compare.headers", list: true, blank: true, takes: takesCompareHeaders, read: readCompareHeaders},

	// What may differ: rules, see compare.Rule.
	{name: "compare.ignore", list: true, blank: true, takes: "rules, such as $.id, header X-Request-Id or GET /invoices/* $.updatedAt", read: readCompareIgnore},

	// Lists that are compared as sets.
	{name: "compare.unordered", list: true, blank: true, takes: "paths of lists, such as $.lines or $.lines by sku", read: readCompareUnordered},

	// How far numbers may be apart.
	{name: "compare.tolerance", list: true, blank: true, takes: "paths with how far numbers may be apart, such as $.total=0.005 or $.rate=1%", read: readCompareTolerance},

	// Whether null is as good as a member that is not there.
	{name: "compare.nullIsMissing", def: "false", blank: true, takes: takesBoolean, read: readCompareNullIsMissing},

	// A second instance of live's version, which gets what the shadow gets. What live and
	// it differ in differs without a release.
	{name: "compare.control", blank: true, takes: takesURL, read: readCompareControl},

	// The methods with which it gets that. The others may change something, twice where
	// it shares live's database.
	{name: "compare.controlMethods", def: "GET,HEAD,OPTIONS", list: true, blank: true, takes: "HTTP methods, such as GET,HEAD,POST", read: readCompareControlMethods},

	// The largest body of an answer that is kept and compared.
	{name: "compare.maxBodySize", def: "64KiB", blank: true, takes: takesLimit, read: readCompareMaxBodySize},

	// The share of the mirrored requests that are compared.
	{name: "compare.percent", def: "100", blank: true, takes: takesPercent, read: readComparePercent},

	// How many pairs are kept of each difference, spread over the time in which there
	// were some.
	{name: "compare.examples", def: "5", blank: true, takes: "a whole number from 0 to 50", read: readCompareExamples},

	// How many pairs it takes before the comparison says anything.
	{name: "compare.minimum", def: "100", blank: true, takes: "a whole number, at least 1", read: readCompareMinimum},

	// How long what was found says anything without a new pair.
	{name: "compare.maxAge", def: "10m", blank: true, takes: "a duration above 0, such as 10m, or a number of seconds", read: readCompareMaxAge},

	// What people call the time since the comparison began. Another one begins it anew.
	{name: "compare.epoch", blank: true, takes: "a text on one line, such as build 4711, of at most 100 bytes", read: readCompareEpoch},

	// The header that has what a request is called in logs; where it is not there,
	// Traceparent is looked at.
	{name: "compare.requestId", def: "X-Request-Id", blank: true, takes: "the name of a header", read: readCompareRequestID},

	// How values that differ are shown in the report.
	{name: "compare.show", def: compare.Hashes, blank: true, takes: "values, hashes or none", read: readCompareShow},

	// The key of the hashes that are shown: with the same one they are the same on all
	// replicas, and after a restart.
	{name: "compare.hashKey", blank: true, secret: true, takes: "a text on one line, of 16 bytes or more", read: readCompareHashKey},

	// Whether the middleware mirrors nothing and answers every request itself, with
	// the report about all mirrors, as a page, as JSON and as metrics.
	{name: "serve", def: "false", takes: takesBoolean, read: readServe},
}

// optionCalled returns the option of this name, which is in lower case; nil for none.
func optionCalled(name string) *option {
	for i := range optionTable {
		if strings.ToLower(optionTable[i].name) == name {
			return &optionTable[i]
		}
	}
	return nil
}

func readURL(p *parser, v *given) bool {
	if v.text == "" {
		p.mistake("url: required: takes " + takesURL)
	}
	p.o.target = p.readTarget(v)
	return true
}

// readTarget reads the URL of an upstream. Without one there has been a mistake, or there
// is no value.
func (p *parser) readTarget(v *given) *url.URL {
	// The query may be a token, and is not quoted whatever it is.
	before, after, found := strings.Cut(v.text, "?")
	if found && after != "" {
		before += "?…"
	}
	u, err := url.Parse(v.text)
	switch {
	case v.text == "":
		return nil
	case err != nil:
		p.refuse(v.name, shown(before), takesURL)
		return nil
	case !validTarget(u):
		p.refuse(v.name, shown(before), takesURL)
	case u.Scheme == "h2c" && !canH2C:
		p.refuse(v.name, shown(before), "an http or https URL: h2c needs a Traefik that was built with Go 1.24 or newer")
	case u.User != nil:
		p.mistake(v.name + ": has a user name: takes " + takesURL + "; set customRequestHeaders.Authorization for credentials")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		p.refuse(v.name, shown(before), takesURL+"; the query is the request's own")
	}
	return u
}

func validTarget(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "h2c") && validHost(u)
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

func readPercent(p *parser, v *given) bool {
	var ok bool
	p.o.percent, ok = parsePercent(v.text)
	return ok
}

// parsePercent returns a number from 0 to 100.
func parsePercent(text string) (float64, bool) {
	v, err := strconv.ParseFloat(text, 64)
	// Written so that NaN is refused too.
	return v, err == nil && v >= 0 && v <= 100
}

func readMaxRate(p *parser, v *given) bool {
	p.o.maxRate = 0
	if v.text == "" {
		return true
	}
	n, err := strconv.Atoi(v.text)
	if err != nil || n < 1 || n > mostRate {
		return false
	}
	p.o.maxRate = n
	return true
}

func readSampleBy(p *parser, v *given) bool {
	var ok bool
	p.o.sampleBy, ok = parseSampleBy(v.text)
	return ok
}

func readSequenceBy(p *parser, v *given) bool {
	var ok bool
	p.o.sequenceBy, ok = parseSampleBy(v.text)
	if ok && p.o.sequenceBy != "" && p.o.percent < 100 && p.o.sampleBy != p.o.sequenceBy {
		p.refuse("sequenceBy", shown(v.text), "percent: 100, or a sampleBy that is the same: what is drawn at random leaves gaps in a sequence")
	}
	return ok
}

func readMethods(p *parser, v *given) bool {
	p.o.methods = p.methodsOf(v, "HTTP methods, such as POST,PUT")
	return true
}

// methodsOf returns the methods of a list in upper case, as Traefik's Method matcher
// compares them.
func (p *parser) methodsOf(v *given, takes string) map[string]bool {
	methods := map[string]bool{}
	for _, m := range v.items {
		if !isToken(m) {
			p.refuse(v.name, shown(m), takes)
			continue
		}
		methods[strings.ToUpper(m)] = true
	}
	return methods
}

func readMirrorBody(p *parser, v *given) bool {
	var err error
	p.o.mirrorBody, err = strconv.ParseBool(v.text)
	return err == nil
}

func readMaxBodySize(p *parser, v *given) bool {
	var ok bool
	p.o.maxBodySize, ok = parseSize(v.text)
	return ok
}

func readBodyMode(p *parser, v *given) bool {
	mode := strings.ToLower(v.text)
	p.o.stream = mode == "stream"
	return mode == "stream" || mode == "buffer"
}

func readMaxInFlight(p *parser, v *given) bool {
	n, err := strconv.ParseInt(v.text, 10, 32)
	p.o.maxInFlight = n
	return err == nil && n >= 1
}

func readTimeout(p *parser, v *given) bool {
	var ok bool
	p.o.timeout, ok = parseDuration(v.text)
	return ok && p.o.timeout > 0
}

func readMaxPause(p *parser, v *given) bool {
	var ok bool
	p.o.maxPause, ok = parseDuration(v.text)
	return ok
}

func readPassHostHeader(p *parser, v *given) bool {
	var err error
	p.o.passHostHeader, err = strconv.ParseBool(v.text)
	return err == nil
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

// parseDuration returns a Go duration or, as everywhere in Traefik, a bare
// number of seconds; false for anything else and below 0.
func parseDuration(text string) (time.Duration, bool) {
	if _, err := strconv.ParseInt(text, 10, 32); err == nil {
		text += "s"
	}
	v, err := time.ParseDuration(text)
	return v, err == nil && v >= 0
}

// readHeadersGroup refuses what is no map. An empty text is what Traefik makes of a
// file's map whose entries all have nothing after the colon. Taken for no entries,
// it would leave the shadow the credentials that somebody meant to remove.
func readHeadersGroup(p *parser, v *given) bool {
	return p.given["customrequestheaders"] == nil || v.text == "{}" || isMap(v.value)
}

// readHeaders splits the entries of customRequestHeaders into those to set and those
// to remove. Their values are credentials as often as not, and never shown.
func (p *parser) readHeaders() {
	p.o.setHeaders = http.Header{}
	before := map[string]string{}
	for _, h := range p.headers {
		option := "customRequestHeaders." + shownName(h.name)
		key := http.CanonicalHeaderKey(strings.TrimSpace(h.name))
		if first, twice := before[key]; twice {
			p.mistake(option + ": given twice, as " + shownName(first) + " and as " + shownName(h.name))
			continue
		}
		before[key] = h.name
		value, single := textOf(h.value)
		if h.value == nil {
			single = true // nothing after the colon: an empty value
		}
		switch {
		case !isToken(key):
			p.mistake(option + ": takes the name of a header after the dot")
		case !single:
			p.refuse(option, sealed(h.value), "a text on one line, or \"\" to remove the header")
		case key == markerHeader || key == tokenHeader:
			p.mistake(option + ": takes any name but " + markerHeader + " and " + tokenHeader + ", which guard against loops")
		case key == "Host" && value == "":
			p.refuse(option, sealed(h.value), "a host: a request cannot be without one")
		case !validHeaderValue(value):
			p.refuse(option, sealed(h.value), "a text on one line")
		case value == "":
			p.o.removeHeaders = append(p.o.removeHeaders, key)
		default:
			p.o.setHeaders[key] = []string{value}
		}
		p.fingerprint = append(p.fingerprint, headersPrefix+key+"="+strconv.Quote(value))
	}
	sort.Strings(p.o.removeHeaders)
}

// validHeaderValue reports whether net/http sends the value: it has no control
// characters but tabs.
func validHeaderValue(value string) bool {
	for i := 0; i < len(value); i++ {
		if value[i] < ' ' && value[i] != '\t' || value[i] == 0x7f {
			return false
		}
	}
	return true
}

// isToken reports whether s can be a method or the name of a header or cookie
// (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	const tchar = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return s != "" && strings.Trim(s, tchar) == ""
}

// readTLS makes the configuration that the options of the group are for.
func readTLS(p *parser, v *given) bool {
	_, single := textOf(v.value)
	if !isMap(v.value) && (!single || v.text != "" && v.text != "{}") {
		return false
	}
	if p.givenIn("tls.") {
		p.o.tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return true
}

func readServerName(p *parser, v *given) bool {
	if p.o.tlsConfig != nil {
		p.o.tlsConfig.ServerName = v.text
	}
	return len(v.text) <= 255 && strings.Trim(v.text, "-._:0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

func readInsecureSkipVerify(p *parser, v *given) bool {
	skip, err := strconv.ParseBool(v.text)
	if p.o.tlsConfig != nil {
		p.o.tlsConfig.InsecureSkipVerify = skip
	}
	return err == nil
}

func readRootCAs(p *parser, v *given) bool {
	if p.o.tlsConfig == nil || len(v.items) == 0 {
		return true
	}
	p.o.tlsConfig.RootCAs = x509.NewCertPool()
	for _, ca := range v.items {
		if pem := p.pem("tls.rootCAs", ca); pem != nil && !p.o.tlsConfig.RootCAs.AppendCertsFromPEM(pem) {
			p.refuse("tls.rootCAs", shown(ca), "certificates as file names or PEM text")
		}
	}
	return true
}

func readCertFile(p *parser, v *given) bool {
	switch {
	case v.text != "":
		p.certPEM = p.pem("tls.certFile", v.text)
	case p.given["tls.keyfile"] != nil:
		p.mistake("tls.certFile: takes the certificate of tls.keyFile, as a file name or PEM text")
	}
	return true
}

func readKeyFile(p *parser, v *given) bool {
	switch {
	case v.text != "":
		p.keyPEM = p.pem("tls.keyFile", v.text)
	case p.given["tls.certfile"] != nil:
		p.mistake("tls.keyFile: takes the key of tls.certFile, as a file name or PEM text")
	}
	return true
}

// readClientCertificate puts the certificate and its key together.
func (p *parser) readClientCertificate() {
	if p.certPEM == nil || p.keyPEM == nil || p.o.tlsConfig == nil {
		return
	}
	pair, err := tls.X509KeyPair(p.certPEM, p.keyPEM)
	if err != nil {
		// What follows a quote or a bracket is from the files.
		why, _, _ := strings.Cut(strings.ReplaceAll(err.Error(), "[", "\""), "\"")
		p.mistake("tls.certFile: takes a certificate that goes with tls.keyFile (" + strings.TrimSpace(why) + ")")
		return
	}
	p.o.tlsConfig.Certificates = []tls.Certificate{pair}
}

// maxPEM is how much of a file is read, in bytes: the authorities of a whole system
// are a quarter of one.
const maxPEM = 1 << 20

// pem returns PEM text that is given as such or as a file's name; nil if it cannot
// be had.
func (p *parser) pem(option, s string) []byte {
	text := []byte(s)
	if !strings.HasPrefix(s, "-----BEGIN") {
		var err error
		p.o.readsFiles = true
		if text, err = readFile(s); err != nil {
			p.refuse(option, shown(s), takesPEM)
			return nil
		}
	}
	p.fingerprint = append(p.fingerprint, option+" holds "+strconv.Quote(string(text)))
	return text
}

// readFile reads a file that has an end: a device or a pipe could hold up Traefik's
// configuration for good.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxPEM {
		return nil, errors.New("not a file of PEM text")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxPEM))
}

// readCompare turns comparing on, with the defaults until the options of the group
// are read.
func readCompare(p *parser, v *given) bool {
	on := p.givenIn("compare.") || isMap(v.value) || v.value == nil
	if !isMap(v.value) && v.value != nil {
		// A list, and the like, has no text, but is not nothing.
		if _, single := textOf(v.value); !single {
			return false
		}
		switch v.text {
		case "":
			on = true
		case "{}":
			on = true
		default:
			yes, err := strconv.ParseBool(v.text)
			if err != nil {
				return false
			}
			on = yes || on && p.given["compare"] == nil
		}
	}
	p.fingerprint = append(p.fingerprint, "compare="+strconv.FormatBool(on))
	if on {
		p.o.compare = &compare.Rules{}
	}
	return true
}

func readCompareBody(p *parser, v *given) bool {
	word, ok := oneOf(v.text, []string{compare.JSON, compare.Exact, compare.Off})
	if p.o.compare != nil {
		p.o.compare.Body = word
	}
	return ok
}

const takesCompareHeaders = "names of headers to compare besides those that are by default, such as X-Total-Count, or none for none of those"

// readCompareHeaders adds to the headers that are compared by default, or takes their
// place where none is among the names.
func readCompareHeaders(p *parser, v *given) bool {
	names := append([]string{}, compare.DefaultHeaders...)
	for _, name := range v.items {
		if strings.EqualFold(name, "none") {
			names = nil
		}
	}
	for _, name := range v.items {
		key := http.CanonicalHeaderKey(name)
		if !isToken(key) {
			p.refuse("compare.headers", shown(name), takesCompareHeaders)
		} else if !contains(names, key) && key != "None" {
			names = append(names, key)
		}
	}
	if p.o.compare != nil {
		p.o.compare.Headers = names
	}
	return true
}

func contains(list []string, text string) bool {
	for _, s := range list {
		if s == text {
			return true
		}
	}
	return false
}

func readCompareIgnore(p *parser, v *given) bool {
	for _, text := range v.items {
		rule, err := compare.ParseRule(text)
		if err != nil {
			p.refuse("compare.ignore", shown(text), err.Error())
			continue
		}
		if p.o.compare != nil {
			p.o.compare.Ignore = append(p.o.compare.Ignore, rule)
		}
	}
	return true
}

func readCompareUnordered(p *parser, v *given) bool {
	for _, text := range v.items {
		list, err := compare.ParseUnordered(text)
		if err != nil {
			p.refuse("compare.unordered", shown(text), err.Error())
			continue
		}
		if p.o.compare != nil {
			p.o.compare.Unordered = append(p.o.compare.Unordered, list)
		}
	}
	return true
}

func readCompareTolerance(p *parser, v *given) bool {
	for _, text := range v.items {
		tolerance, err := compare.ParseTolerance(text)
		if err != nil {
			p.refuse("compare.tolerance", shown(text), err.Error())
			continue
		}
		if p.o.compare != nil {
			p.o.compare.Tolerance = append(p.o.compare.Tolerance, tolerance)
		}
	}
	return true
}

func readCompareNullIsMissing(p *parser, v *given) bool {
	yes, err := strconv.ParseBool(v.text)
	if p.o.compare != nil {
		p.o.compare.NullIsMissing = yes
	}
	return err == nil
}

func readCompareControl(p *parser, v *given) bool {
	u := p.readTarget(v)
	if u != nil && p.o.target != nil && normalized(u) == normalized(p.o.target) {
		p.refuse(v.name, shown(v.text), "a URL other than url's: a second instance of live's version")
	}
	p.o.control = u
	if p.o.compare != nil {
		p.o.compare.Control = u != nil
	}
	return true
}

// normalized is a URL as it is equal to others that lead to the same place.
func normalized(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = defaultPorts[u.Scheme]
	}
	return strings.ToLower(u.Hostname()) + ":" + port + strings.TrimRight(u.EscapedPath(), "/")
}

func readCompareControlMethods(p *parser, v *given) bool {
	p.o.controlMethods = p.methodsOf(v, "HTTP methods, such as GET,HEAD,POST")
	return true
}

func readCompareMaxBodySize(p *parser, v *given) bool {
	n, ok := parseSize(v.text)
	if p.o.compare != nil {
		p.o.compare.MaxBodySize = n
	}
	return ok && n != math.MaxInt64
}

func readComparePercent(p *parser, v *given) bool {
	n, ok := parsePercent(v.text)
	if p.o.compare != nil {
		p.o.compareShare = n / 100
	}
	return ok
}

func readCompareExamples(p *parser, v *given) bool {
	n, err := strconv.Atoi(v.text)
	if p.o.compare != nil {
		p.o.compare.Examples = n
	}
	return err == nil && n >= 0 && n <= 50
}

func readCompareMinimum(p *parser, v *given) bool {
	n, err := strconv.ParseInt(v.text, 10, 64)
	if p.o.compare != nil {
		p.o.compare.Minimum = n
	}
	return err == nil && n >= 1
}

func readCompareMaxAge(p *parser, v *given) bool {
	d, ok := parseDuration(v.text)
	if p.o.compare != nil {
		p.o.compare.MaxAge = d
	}
	return ok && d > 0
}

func readCompareEpoch(p *parser, v *given) bool {
	if p.o.compare != nil {
		p.o.compare.Epoch = v.text
	}
	return len(v.text) <= 100 && validHeaderValue(v.text)
}

func readCompareRequestID(p *parser, v *given) bool {
	p.o.requestID = http.CanonicalHeaderKey(v.text)
	return isToken(v.text)
}

// basisOf is what an account stands on: with other options of these it begins anew.
func basisOf(o *options) string {
	r := o.compare
	control := ""
	if o.control != nil {
		control = o.control.String()
	}
	return fmt.Sprintf("%s %q %s %d %q", o.target, control, r.Body, r.MaxBodySize, r.Epoch)
}

func readCompareShow(p *parser, v *given) bool {
	word, ok := oneOf(v.text, []string{compare.Values, compare.Hashes, compare.None})
	if p.o.compare != nil {
		p.o.compare.Show = word
	}
	return ok
}

func readCompareHashKey(p *parser, v *given) bool {
	if p.o.compare != nil {
		p.o.compare.HashKey = v.text
	}
	return v.text == "" || len(v.text) >= 16 && len(v.text) <= 1000 && validHeaderValue(v.text)
}

// oneOf returns the one of the words that text is, in any case.
func oneOf(text string, words []string) (string, bool) {
	for _, word := range words {
		if strings.EqualFold(text, word) {
			return word, true
		}
	}
	return "", false
}

// readServe only checks the value: the other options are read by what it is.
func readServe(_ *parser, v *given) bool {
	_, err := strconv.ParseBool(v.text)
	return err == nil
}

// serves reports whether the middleware is one that serves the report.
func (p *parser) serves() bool {
	v := p.given["serve"]
	if v == nil {
		return false
	}
	text, _ := textOf(v.value)
	serve, err := strconv.ParseBool(strings.TrimSpace(text))
	return err == nil && serve
}

// readUnlikely notes what is allowed, and works, and hardly is what was meant.
func (p *parser) readUnlikely() {
	p.noteUnknown("methods", p.o.methods)
	p.noteUnknown("compare.controlMethods", p.o.controlMethods)
	if p.o.timeout > 10*time.Minute {
		p.o.unlikely = append(p.o.unlikely, "timeout: "+p.o.timeout.String()+": a copy keeps its place in flight for as long as that; a number without a unit is seconds")
	}
	secure := p.o.control != nil && p.o.control.Scheme == "https"
	if p.o.tlsConfig != nil && p.o.target != nil && p.o.target.Scheme != "https" && !secure {
		p.o.unlikely = append(p.o.unlikely, "tls: has no effect with an "+p.o.target.Scheme+" url")
	}
}

// noteUnknown notes which of an option's methods are none that anybody knows.
func (p *parser) noteUnknown(option string, methods map[string]bool) {
	var unknown []string
	for m := range methods {
		if !knownMethods[m] {
			unknown = append(unknown, m)
		}
	}
	sort.Strings(unknown)
	for _, m := range unknown {
		p.o.unlikely = append(p.o.unlikely, option+": "+shown(m)+" is no method that servers know")
	}
}

// knownMethods are those that IANA has registered, and those of caches and of UPnP.
var knownMethods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "OPTIONS": true, "TRACE": true, "CONNECT": true, "QUERY": true,
	"ACL": true, "BASELINE-CONTROL": true, "BIND": true, "CHECKIN": true, "CHECKOUT": true, "COPY": true, "LABEL": true, "LINK": true, "LOCK": true,
	"MERGE": true, "MKACTIVITY": true, "MKCALENDAR": true, "MKCOL": true, "MKREDIRECTREF": true, "MKWORKSPACE": true, "MOVE": true, "ORDERPATCH": true,
	"PRI": true, "PROPFIND": true, "PROPPATCH": true, "REBIND": true, "REPORT": true, "SEARCH": true, "UNBIND": true, "UNCHECKOUT": true, "UNLINK": true,
	"UNLOCK": true, "UPDATE": true, "UPDATEREDIRECTREF": true, "VERSION-CONTROL": true,
	"PURGE": true, "BAN": true, "SUBSCRIBE": true, "UNSUBSCRIBE": true, "NOTIFY": true, "M-SEARCH": true,
}
