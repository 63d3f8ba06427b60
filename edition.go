package mirror

import (
	"bytes"
	"errors"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trafficshadow/mirror/report"
)

// editionAge is how old what a middleware with serve answers may be. To make the report
// takes a processor for milliseconds, and everybody may ask for it as often as they like.
const editionAge = time.Second

// The forms of the report, beside its pages: those go by report.PageName.
const (
	formMetrics = "metrics"
	formJSON    = "report.json"
)

// maxForms is how many forms are made of one edition. There are as many pages as there are
// mirrors, endpoints and parts to unfold, and whoever asks for one after the other must not
// take a processor for it.
const maxForms = 40

var errBusy = errors.New("too many pages are asked for at once")

// editions are the report as it was made last. All middlewares with serve share them.
//
// mu is held while a form is made, so that one goroutine at a time makes one, and those
// that wait for it get what it has made. None of this is on the live path.
type editions struct {
	now     func() time.Time // time.Now, but in tests
	changed *atomic.Int64    // optionsChanged; nil in tests where others change options meanwhile

	mu sync.Mutex

	// The page and report.json are made of one document, which takes a snapshot of all
	// that comparing has found; metrics are made of counters, and of what was judged last.
	// Each is as old as editionAge at most. Guarded by mu.
	document *edition
	metrics  *edition
}

// optionsChanged is how often a mirror was given other options. A report of before does not
// stand for what is now: a gate that is asked for a new build must not answer for the one
// before it.
var optionsChanged atomic.Int64

// An edition is a document and the forms that were made of it. What is in forms is not
// changed any more. The mu of its editions guards it.
type edition struct {
	document   *report.Document
	made       time.Time
	changes    int64 // what optionsChanged was before it was made
	forms      map[string][]byte
	mismatches []*report.Mismatches // nil: nobody has asked for them
}

var newest = &editions{now: time.Now, changed: &optionsChanged}

// form returns the report in one of its forms.
func (e *editions) form(name string) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	current := e.current(name == formMetrics)
	return current.form(name, nil)
}

// page returns the page that the query of its address asks for.
func (e *editions) page(query url.Values) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	current := e.current(false)
	return current.form(report.PageName(current.document, query), query)
}

// form returns the document in one of its forms. The mu of its editions is held.
func (e *edition) form(name string, query url.Values) ([]byte, error) {
	if text := e.forms[name]; text != nil {
		return text, nil
	}
	if len(e.forms) >= maxForms && name != formJSON {
		return nil, errBusy
	}
	text, err := write(name, e.document, query)
	if err != nil {
		return nil, err
	}
	e.forms[name] = text
	return text, nil
}

func (e *editions) changes() int64 {
	if e.changed == nil {
		return 0
	}
	return e.changed.Load()
}

// latest returns the document that the page and report.json are made of. Nobody changes it any
// more.
func (e *editions) latest() *report.Document {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current(false).document
}

// allMismatches returns all examples, and the document that has them. Nobody changes them any
// more.
func (e *editions) allMismatches() ([]*report.Mismatches, *report.Document, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	current := e.current(false)
	if current.mismatches == nil {
		all, err := report.NewMismatches(current.document)
		if err != nil {
			return nil, nil, err
		}
		current.mismatches = all
	}
	return current.mismatches, current.document, nil
}

// current returns the newest edition, a new one if that is too old, or is from a time to
// come because the clock was set back. mu is held.
func (e *editions) current(metrics bool) *edition {
	now := e.now()
	last := e.document
	if metrics {
		last = e.metrics
	}
	if last != nil {
		if age := now.Sub(last.made); age >= 0 && age < editionAge && last.changes == e.changes() {
			return last
		}
	}
	// It is as old as it is from here on: with many mirrors it may take a second to make, and
	// would be too old at once.
	changes := e.changes()
	fresh := &edition{document: document(now, !metrics), changes: changes, forms: map[string][]byte{}}
	fresh.made = e.now()
	if metrics {
		e.metrics = fresh
	} else {
		e.document = fresh
	}
	return fresh
}

func write(form string, d *report.Document, query url.Values) ([]byte, error) {
	var out bytes.Buffer
	var err error
	switch form {
	case formMetrics:
		err = report.WriteMetrics(&out, d)
	case formJSON:
		err = report.WriteJSON(&out, d)
	default:
		err = report.WritePage(&out, d, query)
	}
	return out.Bytes(), err
}
