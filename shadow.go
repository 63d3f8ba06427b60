package mirror

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

//lint:file-ignore SA4006 The interpreter receives, and looks up in a map, rightly only with two named results.

const (
	// maxAnswer is how many bytes of the shadow's answer are read, and thrown
	// away, so that its connection can be used again. It is cut off after that.
	maxAnswer = 4 << 20

	// maxAnswerHeader bounds the memory, in bytes, that the head of the shadow's
	// answer can take. net/http's own bound is 10 MiB, for each one in flight.
	maxAnswerHeader = 256 << 10

	// idleTimeout is for connections that wait for the next request, as in Traefik.
	idleTimeout = 90 * time.Second

	// mostPlaces is how many copies a middleware can have in flight, whatever
	// maxInFlight says: there is room in a channel for all of them.
	mostPlaces = 1 << 16
)

// A shadow sends copies to a shadow upstream as one set of options says: through a
// channel to workers, which start when they are needed and stop when they are not.
type shadow struct {
	mirror    *mirror
	users     int // instances of the middleware that use it; guarded by mirrorsMu
	abandoned int // how often the last of them went; guarded by mirrorsMu

	address       string // the URL, for people
	fingerprint   string
	maxInFlight   int64
	smallBody     int64 // bytes; up to this a body is neither too large nor live's to account for
	timeout       time.Duration
	maxPause      time.Duration // 0: never
	passHost      bool
	mirrorBody    bool
	excluded      *regexp.Regexp // content types that are not mirrored
	setHeaders    http.Header
	removeHeaders []string
	customizes    bool     // whether customize has anything to do
	marker        []string // the value of markerHeader
	token         []string // the value of tokenHeader

	rules     *compare.Rules // nil: answers are not compared
	requestID string         // the header that has what a request is called in logs

	// copies has room for as many copies as there can be places in flight, which is
	// twice maxInFlight (see takeFull), and for mostTokens, so that no send ever waits.
	copies chan *http.Request
	idle   chan bool // a token for each worker that waits for a copy

	// intake takes copies from the live path: copies itself, or where they go in
	// sequences the dispatcher's channel, which has as much room. See sequence.go.
	intake    chan *http.Request
	sequencer *sequencer // nil: they do not
	sequence  *sequence  // the mirror's; nil likewise

	mu      sync.Mutex
	workers atomic.Int64 // changed with mu held
	tending tending

	pause      *pause
	unanswered *unanswered

	limit *limiter // the mirror's; nil: there is no maxRate

	control        interface{}     // the *shadow that gets what this one gets; nil: there is none. See controlOf
	controlMethods map[string]bool // with which it does
	isControl      bool            // it is one itself

	looped  atomic.Bool // it was logged that url leads back here
	retired atomic.Bool // other options have taken its place, or nobody uses it

	mostBody int64 // bytes that are read of an answer after its head, with all that frames it
	joins    bool  // the director has anything to do
	director func(*http.Request)
	host     string // with the port, if the URL has one
	hostPort string // what to dial
	maxAge   time.Duration
	interval time.Duration // tendInterval
	secure   *tls.Config   // nil: the workers' own connections have no TLS
	over2    *multiplexer
}

// newShadow returns a shadow, and its control, if it has one.
func newShadow(m *mirror, o *options) *shadow {
	s := prepareShadow(m, o)
	s.controlMethods = o.controlMethods
	if c := newControl(m, o); c != nil {
		s.control = c
		go startSentry(c)
	}
	go startSentry(s)
	return s
}

// prepareShadow returns a shadow that lacks a sentry.
func prepareShadow(m *mirror, o *options) *shadow {
	s := &shadow{
		mirror:        m,
		address:       o.target.String(),
		fingerprint:   o.fingerprint,
		maxInFlight:   o.maxInFlight,
		smallBody:     ownBody,
		timeout:       o.timeout,
		maxPause:      o.maxPause,
		passHost:      o.passHostHeader,
		mirrorBody:    o.mirrorBody,
		excluded:      earlyAnswered,
		maxAge:        maxAge,
		interval:      tendInterval,
		joins:         strings.Trim(o.target.Path, "/") != "",
		setHeaders:    o.setHeaders,
		removeHeaders: o.removeHeaders,
		marker:        []string{m.name},
		token:         []string{tokenFor(m.name)},
		limit:         m.limit,
		pause:         newPause(),
		unanswered:    &unanswered{},
		rules:         o.compare,
		requestID:     o.requestID,
	}
	s.mostBody = maxRawAnswer
	if s.rules != nil {
		s.mostBody += s.rules.MaxBodySize
	}
	if s.maxInFlight > mostPlaces {
		s.maxInFlight = mostPlaces
	}
	if o.maxBodySize < s.smallBody {
		s.smallBody = o.maxBodySize
	}
	if o.stream {
		// Live reads each body as it comes, and may answer before it ends.
		s.excluded = noType
	}
	s.copies = make(chan *http.Request, 2*s.maxInFlight+mostTokens)
	s.intake = s.copies
	s.idle = make(chan bool, s.maxInFlight+2)
	s.customizes = !s.passHost || len(s.setHeaders) > 0 || len(s.removeHeaders) > 0
	// The standard library's own, so that for every request it runs compiled.
	target := &url.URL{Scheme: o.target.Scheme, Host: o.target.Host, Path: o.target.Path, RawPath: o.target.RawPath}
	s.director = httputil.NewSingleHostReverseProxy(target).Director
	s.hostPort, s.host = hostsOf(o.target)
	s.over2 = newMultiplexer(o, s.hostPort)
	s.secure = s.over2.secure
	if o.sequenceBy != "" {
		sequenceCopies(s, o)
	}
	s.workers.Store(1)
	return s
}

var (
	errPanic     = errors.New("panic in the plugin")
	errLeftAlone = errors.New("the shadow is left alone")
)

// stop is what a worker receives in place of a copy when there are too many workers,
// and rest when it is the last and has long had nothing to do: then a sentry takes its
// place. The last one that is idle when it is told to stop lets go of its connection
// and waits on, unless the shadow is retired, for there has to be one that receives.
var (
	stop = &http.Request{}
	rest = &http.Request{}
)

// A worker sends one copy after the other to the shadow. What is kept here is what
// has to be put in order when it panics; all else is in variables of sendCopies.
type worker struct {
	shadow     *shadow
	busy       bool        // it has a copy, and with it a place in flight
	probes     bool        // that copy is the probe: see pause
	rests      bool        // a sentry is to take its place
	connection *connection // over HTTP/1.1; nil: none

	out *http.Request // the copy, where it goes in a sequence
}

// startWorker is work. A variable, because interpreted the frame of a function that
// is called, by go too, keeps its caller's: a worker that was started by a worker
// would keep all that were before it.
var startWorker func(*shadow)

func init() { startWorker = work }

// work is a worker. It runs in a goroutine of its own.
//
// Interpreted, a function literal keeps a copy of the frame of the function that it is
// in, so the one here is not in sendCopies, whose frame is large.
func work(s *shadow) {
	w := &worker{shadow: s}
	defer func() { endWorker(w, recover()) }()
	sendCopies(w)
}

// sendCopies receives copies, sends each to the shadow, reads the answer to its end and
// gives the place in flight back, until the worker is told to stop.
//
// It is one long loop, because interpreted a call allocates a slot for every
// expression in the function that is called, run or not, and a loop's body pays for
// its slots once, when the function begins. So what is done for every copy is here,
// and what few of them need is in functions. Variables are declared in front and
// assigned with =, for := would allocate in each round. A copy is received with two
// named results; the interpreter gets other forms wrong. No large body is an expression
// here: its slot would hold it until the next copy comes.
func sendCopies(w *worker) {
	s := w.shadow
	var (
		copies     = s.copies
		idle       = s.idle
		leftAlone  = s.pause.leftAlone
		troubled   = s.pause.troubled
		turn       = &s.pause.turn
		inFlight   = &s.mirror.inFlight
		counts     = s.mirror.counts
		succeeded  = &counts.succeeded
		measured   = watched // holds a token while somebody looks at what is measured
		timeout    = s.timeout
		mostBody   = s.mostBody
		mirrorBody = s.mirrorBody
		limit      = s.limit
		rules      = s.rules
		requestID  = s.requestID
		control    = controlOf(s)
		isControl  = s.isControl
		sequencer  = s.sequencer
		intake     = s.intake
		matches    = s.mirror.verdict.Matches
		head       = &bytes.Buffer{}
		lines      = &bytes.Buffer{} // of headers
		writer     = io.Writer(lines)
		unneeded   = map[string]bool{} // headers that are not compared

		out          *http.Request
		token, ok    bool
		h            http.Header
		reason       *atomic.Int64
		values       []string
		host         string
		began        time.Time
		deadline     time.Time
		c            *connection
		uri, line    string
		forged       bool   // the URL cannot be written into a head
		safeHost     string // the last that was looked at
		res          *http.Response
		size, read   int64
		skipped      int
		written      int64
		whole        bool
		came         bool // the head of the answer
		pairOfCopy   *pair
		kept         []byte
		took         time.Duration
		same         bool
		fate         string // of the control's part
		matched      int    // pairs that were the same to the byte
		lives        http.Header
		i            int
		text         []byte
		err, readErr error
	)
	_ = token
	for {
		idle <- true
		out, ok = <-copies
		token, ok = <-idle // what it says does not matter
		if out == stop && (len(idle) > 0 || s.retired.Load()) {
			return
		}
		if out == rest {
			w.rests = true
			return
		}
		if out == stop {
			w.drop()
			continue
		}
		w.busy = true
		if sequencer != nil {
			w.out = out
		}
		if len(idle) == 0 {
			addWorker(s)
		}

		// What the copy is: whether one to send, and with which headers.
		h = out.Header
		size = out.ContentLength
		if !mirrorBody || size == 0 && len(out.Trailer) == 0 || out.Body == http.NoBody || out.Body == nil {
			// The live path has not looked at its head.
			values = h["Content-Type"]
			if h["Upgrade"] != nil || len(values) > 0 && !plainTypes[values[0]] || out.Method == http.MethodConnect {
				reason = excluded(s, out)
				if reason != nil {
					w.busy = false
					endUnsent(s, out, reason, false)
					continue
				}
			}
			withoutBody(out)
			size = 0
		}
		w.probes = false
		if len(leftAlone) > 0 {
			w.probes = turn.CompareAndSwap(true, false)
			if !w.probes {
				leaveAlone(w, out)
				continue
			}
		}
		if limit != nil && !limit.take(time.Since(started)) {
			dropCopyForRate(w, out)
			continue
		}
		if control != nil {
			askControl(s, out)
		}
		if h["Connection"] != nil || h["Te"] != nil || h["Keep-Alive"] != nil || h["Upgrade"] != nil || h["Expect"] != nil ||
			h["Transfer-Encoding"] != nil || h["Trailer"] != nil ||
			h["Proxy-Connection"] != nil || h["Proxy-Authorization"] != nil || h["Proxy-Authenticate"] != nil {
			endHopByHop(h)
		}
		if values, ok = h["X-Forwarded-For"]; ok {
			addForwardedFor(out)
		} else if host, line, err = net.SplitHostPort(out.RemoteAddr); err == nil {
			h["X-Forwarded-For"] = []string{host}
		}
		values = h["Accept-Encoding"]
		if values == nil && h["Range"] == nil && out.Method != http.MethodHead {
			h["Accept-Encoding"] = gzipOnly
		} else if len(values) == 0 || values[0] == "" {
			acceptGzip(out)
		}
		pairOfCopy = nil
		if rules != nil {
			pairOfCopy, ok = out.Context().Value(pairKey).(*pair)
			if pairOfCopy != nil {
				// Whose request it is, before the options take that away.
				pairOfCopy.request.Target = out.RequestURI
				pairOfCopy.request.Authorization = h["Authorization"]
				pairOfCopy.request.Cookie = h["Cookie"]
				pairOfCopy.request.ID = ""
				values = h[requestID]
				if values == nil {
					values = h["Traceparent"]
				}
				if len(values) > 0 {
					pairOfCopy.request.ID = values[0]
				}
				if strings.HasSuffix(pairOfCopy.request.Path, "graphql") {
					pairOfCopy.request.Operation = operationOf(out, pairOfCopy.request.Body)
				}
			}
		}
		if s.customizes {
			customize(s, out)
		}
		// After the headers that the client's Connection names have been removed: a
		// client must not remove the marker.
		h[markerHeader] = s.marker
		h[tokenHeader] = s.token
		values = h["User-Agent"]
		if values != nil && (len(values) != 1 || values[0] == "") {
			tidyAgent(h)
		}
		uri = out.URL.RequestURI()
		forged = false
		if uri != out.RequestURI || strings.ContainsAny(uri, unusualInURL) {
			takeLiveURL(out)
			uri = out.URL.RequestURI()
			forged = strings.ContainsAny(uri, unsafeInHead) && !sentByClient(out, uri)
		}
		if s.joins && uri == "*" {
			out.URL = serverItself()
		} else if s.joins {
			s.director(out)
			uri = out.URL.RequestURI()
		}

		// The exchange.
		err = nil
		came = false
		kept = nil
		read = 0
		began = time.Now()
		whole = false
		deadline = began.Add(timeout)
		c = w.connection
		if c != nil {
			c.uses++
			if len(c.ready) > 0 || c.uses&3 == 0 && began.After(c.until) {
				w.drop()
			}
		}
		host = out.Host
		if host == "" {
			host = s.host
		}
		if host != safeHost || !usualMethods[out.Method] {
			if safe(out.Method, host) {
				safeHost = host
			} else {
				err = errHead
			}
		}
		if forged || len(out.Trailer) > 0 && !safeTrailer(out.Trailer) {
			err = errHead
		}
		if err == nil && w.connection == nil {
			res, err = reach(w, out, pairOfCopy, host, deadline)
			if res != nil { // it is over, and was over HTTP/2
				came = res.StatusCode != http.StatusSwitchingProtocols
				read = res.ContentLength
			}
		}
		c = w.connection
		if err == nil && c != nil {
			c.conn.SetDeadline(deadline)
			line = out.Method + " " + uri + " HTTP/1.1\r\nHost: " + host + "\r\n"
			if len(out.Trailer) > 0 {
				err = writeWhole(c, out, host)
			} else {
				if size > 0 {
					line += "Content-Length: " + strconv.FormatInt(size, 10) + "\r\n"
				} else if saysNoBody[out.Method] {
					line += "Content-Length: 0\r\n"
				}
				head.WriteString(line)
				h.WriteSubset(head, framing)
				head.WriteString("\r\n")
				if size > 0 && size <= wholeWrite {
					head.ReadFrom(out.Body)
				}
				written, err = head.WriteTo(c.conn) // which empties it
				if size > wholeWrite && err == nil {
					err = writeBody(c, out)
				}
				if err != nil || written > keptHead {
					head = &bytes.Buffer{}
				}
			}
			// A shadow may answer before it has the whole request, and close.
			token, ok = <-c.ready
			readErr = c.err
			if readErr == nil {
				res, readErr = http.ReadResponse(c.reader, out)
			}
			if readErr == nil && res.StatusCode < http.StatusOK {
				res, readErr = skipInformational(c, out, res)
			}
			if readErr == nil {
				came = res.StatusCode != http.StatusSwitchingProtocols
				whole = err == nil && !res.Close
				err = nil
			} else if c.limit.N <= 0 {
				err = errLargeHead
			} else if err == nil || errors.Is(err, net.ErrClosed) {
				err = readErr // the watcher has closed the connection, and knows why
			}
			if err == nil {
				c.limit.N = mostBody
				if pairOfCopy != nil && res.ContentLength > 0 && res.ContentLength <= keptWhole && res.Body != http.NoBody && res.StatusCode != http.StatusSwitchingProtocols {
					kept = make([]byte, res.ContentLength)
					skipped, err = io.ReadFull(c.reader, kept)
					read = int64(skipped)
				} else if pairOfCopy != nil || res.StatusCode == http.StatusSwitchingProtocols {
					ok, err = finish(res, pairOfCopy)
					read = res.ContentLength
					whole = whole && ok
				} else if res.ContentLength > 0 && res.ContentLength <= readBuffer && res.Body != http.NoBody {
					skipped, err = c.reader.Discard(int(res.ContentLength))
					read = int64(skipped)
				} else if read, err = io.CopyN(io.Discard, res.Body, maxAnswer); err == io.EOF {
					err = nil
				} else {
					whole = false // it failed, or there is more of it
				}
			}
			// What has come behind the answer belongs to none.
			if err == nil && whole && c.reader.Buffered() == 0 {
				c.limit.N = maxAnswerHeader
				c.conn.SetDeadline(never)
				c.done <- true
			} else {
				w.cut()
			}
		}

		// What became of it.
		if err != nil && came && eventStream(res.Header) {
			err = nil // it need not end in time
			if pairOfCopy != nil {
				pairOfCopy.unfit = compare.Stream
			}
		}
		if len(troubled) > 0 || err != nil {
			conclude(w, came, err)
		}
		if err != nil {
			counts.fail(err)
		} else {
			if len(measured) > 0 {
				measure(counts, time.Since(began), size, read)
			}
			if res.StatusCode/100 == 2 {
				succeeded.Add(1)
			} else {
				countStatus(counts, res.StatusCode)
			}
		}
		if pairOfCopy != nil {
			took = time.Since(began)
			same = false
			fate = ""
			if err == nil && kept != nil && !isControl {
				if len(pairOfCopy.done) == 0 {
					awaitAnswer(pairOfCopy, timeout)
				}
				token, ok = <-pairOfCopy.done
				pairOfCopy.done <- token // judge asks, too
				// Most pairs are the same to the byte, and judged here.
				if pairOfCopy.skip == "" && pairOfCopy.unfit == "" && pairOfCopy.live.Status == res.StatusCode && sameBody(pairOfCopy, kept) {
					// In most all headers are the same; or all lines of those that are
					// compared, of which there may be many, so they are not asked one by one.
					lives = pairOfCopy.live.Header
					same = reflect.DeepEqual(lives, res.Header)
					if !same {
						lives.WriteSubset(writer, unneeded)
						i = lines.Len()
						res.Header.WriteSubset(writer, unneeded)
						text = lines.Bytes()
						same = bytes.Equal(text[:i], text[i:]) || sameHeaders(rules, lives, res.Header, unneeded)
						lines.Reset()
						if len(text) > keptHead {
							lines = &bytes.Buffer{}
							writer = lines
						}
					}
				}
			}
			if same && pairOfCopy.third != nil {
				same, fate = controlAgrees(s, pairOfCopy, unneeded)
			}
			if isControl {
				handControl(s, pairOfCopy, res, kept, took, err)
			} else if same {
				pairOfCopy.third = nil
				pairOfCopy.live.Body = nil // an idle worker still holds the pair
				pairOfCopy.request.Body = nil
				if matched&(compare.BodyOfEvery-1) == 0 {
					matches <- &compare.Matched{Rules: pairOfCopy.rules, Request: pairOfCopy.request, Status: res.StatusCode,
						Live: pairOfCopy.live.Took - pairOfCopy.uploaded, Shadow: took, Control: fate, Answer: &compare.Answer{Header: pairOfCopy.live.Header, Body: kept}}
				} else {
					matches <- &compare.Matched{Rules: pairOfCopy.rules, Request: pairOfCopy.request, Status: res.StatusCode,
						Live: pairOfCopy.live.Took - pairOfCopy.uploaded, Shadow: took, Control: fate}
				}
				matched++
				if len(matches) >= compare.MostMatches {
					s.mirror.verdict.AddMatches()
				}
			} else {
				if err == nil && kept != nil {
					pairOfCopy.shadow = &compare.Answer{Status: res.StatusCode, Header: res.Header, Body: kept}
				}
				judge(s, pairOfCopy, out.Header, took, err)
			}
		}
		if size > ownBody {
			awaitLive(out)
		}
		// Idle, the worker's frame still holds the copy and the answer, but not what is
		// large of them.
		out.Body = http.NoBody
		if err == nil {
			res.Header = nil
			res.Body = http.NoBody
		}
		w.busy = false
		if sequencer == nil {
			inFlight.Add(-1)
		} else { // endCopy, written out
			out.Close = err != nil
			intake <- out
		}
	}
}

// leaveAlone drops a copy that is not sent because the shadow is left alone: it was on
// its way when the pause began, or another has become the probe.
func leaveAlone(w *worker, out *http.Request) {
	w.shadow.mirror.counts.paused.Add(1)
	if p := pairOf(out); p != nil && w.shadow.isControl {
		handControl(w.shadow, p, nil, nil, 0, errLeftAlone)
	} else if p != nil {
		abandon(p, compare.ShadowFailed)
		judge(w.shadow, p, out.Header, 0, errLeftAlone)
	}
	if out.ContentLength > ownBody {
		awaitLive(out)
	}
	out.Body = http.NoBody
	w.busy = false
	endCopy(w.shadow, out, true)
}

// conclude tells the pause how the exchange with the shadow has ended.
func conclude(w *worker, came bool, err error) {
	s := w.shadow
	probe := w.probes
	w.probes = false
	if came {
		s.answered(probe, clock())
		s.unanswered.stand()
	} else if err != errHead {
		if s.failed(probe, err, clock()) {
			s.unanswered.retract(s.mirror)
		}
	} else if probe {
		s.notSent()
	}
}

// finish reads the shadow's answer to its end, within bounds, and keeps it for the
// pair, if there is one. It reports whether that was all of it. The length of what it
// has read takes the place of what the answer announced.
func finish(res *http.Response, p *pair) (bool, error) {
	if res.StatusCode == http.StatusSwitchingProtocols {
		// The body is now the connection, and nothing bounds a read of it.
		return false, errSwitching
	}
	if p != nil {
		return p.keep(res)
	}
	return drain(res)
}

// drain reads the rest of the answer's body, and throws it away.
func drain(res *http.Response) (bool, error) {
	n, err := io.CopyN(io.Discard, res.Body, maxAnswer)
	res.ContentLength = n
	if err == io.EOF {
		return true, nil
	}
	return false, err
}

// addWorker starts a worker, unless there are maxInFlight of them. It is called by a
// worker when no other is idle, so that a copy does not wait for a worker while there
// may be one more.
func addWorker(s *shadow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workers.Load() >= s.maxInFlight {
		return
	}
	s.workers.Add(1)
	go startWorker(s)
	tend(s)
}

// endOne counts a worker, or a sentry, that has ended.
func endOne(s *shadow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers.Add(-1)
}

// startSentry is standSentry, as startWorker is work.
var startSentry func(*shadow)

func init() { startSentry = standSentry }

// standSentry waits for a copy in the place of a worker, and has one take it. It is all
// that a shadow has which has had no traffic for long, for a worker's frame takes some
// ten times as much memory. It runs in a goroutine of its own.
func standSentry(s *shadow) {
	defer func() { s.mirror.counts.contain(recover()) }()
	out := awaitCopy(s)
	if out == stop {
		endOne(s)
		return
	}
	s.copies <- out // there is room: it was there
	go startWorker(s)
}

// awaitCopy returns a copy, or stop if the shadow is retired.
func awaitCopy(s *shadow) *http.Request {
	var out *http.Request
	var token, ok bool
	for waiting := true; waiting; {
		s.idle <- true
		out, ok = <-s.copies
		token, ok = <-s.idle
		waiting = token && ok && (out == rest || out == stop && !s.retired.Load())
	}
	return out
}

// endWorker puts in order what a worker leaves that was told to stop, or that has
// panicked with v. The worker that panicked is replaced.
func endWorker(w *worker, v interface{}) {
	defer func() { w.shadow.mirror.counts.contain(recover()) }()
	s := w.shadow
	if v != nil {
		w.cut()
	}
	w.drop()
	if w.rests {
		go startSentry(s)
		return
	}
	if v == nil {
		endOne(s)
		return
	}
	go startWorker(s)
	if w.busy {
		err := fmt.Errorf("%w: %v", errPanic, v)
		conclude(w, false, err)
		s.mirror.counts.fail(err)
		endCopy(s, w.out, true)
	}
}
