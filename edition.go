package mirror

import (
	"bytes"
	"net/url"
	"sync"
	"time"

	"github.com/trafficshadow/mirror/report"
)

// editionAge is how old what a middleware with serve answers may be. To make the report
// takes a processor for milliseconds, and everybody may ask for it as often as they like.
const editionAge = time.Second

// The forms of the report. The page is one form for each answer to whether it loads itself
// anew, so there are no more than these, whatever is in a query.
const (
	formMetrics    = "metrics"
	formJSON       = "report.json"
	formPage       = "page"
	formPausedPage = "page that stays as it is"
)

// pausedQuery is the query of a page that stays as it is.
var pausedQuery = url.Values{"refresh": {"0"}}

// editions are the report as it was made last. All middlewares with serve share them.
//
// mu is held while a form is made, so that one goroutine at a time makes one, and those
// that wait for it get what it has made. None of this is on the live path.
type editions struct {
	now func() time.Time // time.Now, but in tests

	mu sync.Mutex

	// The page and report.json are made of one document, which takes a snapshot of all
	// that comparing has found; metrics are made of the counters alone. Each is as old as
	// editionAge at most. Guarded by mu.
	document *edition
	metrics  *edition
}

// An edition is a document and the forms that were made of it. What is in forms is not
// changed any more. The mu of its editions guards it.
type edition struct {
	document *report.Document
	made     time.Time
	forms    map[string][]byte
}

var newest = &editions{now: time.Now}

// form returns the report in one of its forms.
func (e *editions) form(name string) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	current := e.current(name == formMetrics)
	if text := current.forms[name]; text != nil {
		return text, nil
	}
	text, err := write(name, current.document)
	if err != nil {
		return nil, err
	}
	current.forms[name] = text
	return text, nil
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
		if age := now.Sub(last.made); age >= 0 && age < editionAge {
			return last
		}
	}
	fresh := &edition{document: document(now, !metrics), made: now, forms: map[string][]byte{}}
	if metrics {
		e.metrics = fresh
	} else {
		e.document = fresh
	}
	return fresh
}

func write(form string, d *report.Document) ([]byte, error) {
	var out bytes.Buffer
	var err error
	switch form {
	case formMetrics:
		err = report.WriteMetrics(&out, d)
	case formJSON:
		err = report.WriteJSON(&out, d)
	case formPausedPage:
		err = report.WritePage(&out, d, pausedQuery)
	default:
		err = report.WritePage(&out, d, nil)
	}
	return out.Bytes(), err
}
