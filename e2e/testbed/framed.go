package testbed

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// A Field is one line of a head, as HTTP/2 and HTTP/3 have it: pseudo-header fields
// too are fields, whose names begin with a colon.
type Field struct{ Name, Value string }

func (f Field) String() string { return f.Name + ": " + f.Value }

// A FramedRequest is a request as HTTP/2 and HTTP/3 carry it. It is sent as it is,
// whether the protocol allows it or not.
type FramedRequest struct {
	Fields   []Field // the pseudo-header fields first
	Body     []byte
	Trailers []Field

	// Open leaves the stream open behind a head that nothing follows, and ends it
	// with an empty piece of body, as a client does that has not known. One that is
	// neither open nor followed by anything ends with its head.
	Open bool

	// Pieces sends at most that many bytes of the body at a time; 0 is as much as
	// there may be in one frame.
	Pieces int
}

// A FramedAnswer is what came back for a [FramedRequest].
type FramedAnswer struct {
	Informational [][]Field // the heads of 1xx answers
	Fields        []Field   // the head, :status included
	Body          []byte
	Trailers      []Field
}

// Status returns the status, or "" where there is no answer.
func (a *FramedAnswer) Status() string { return pseudo(a.Fields, ":status") }

// String is the answer without its date, in one line, its fields by their names.
func (a *FramedAnswer) String() string {
	head := []string{}
	for _, f := range a.Fields {
		if f.Name != "date" {
			head = append(head, f.String())
		}
	}
	slices.Sort(head)
	return fmt.Sprintf("%d informational answers, %q, body %.200q of %d bytes, trailers %q", len(a.Informational), head, a.Body, len(a.Body), a.Trailers)
}

// Add takes the next head of the answer: of a 1xx one, the final one, or trailers.
func (a *FramedAnswer) Add(fields []Field) {
	switch status := pseudo(fields, ":status"); {
	case status == "":
		a.Trailers = fields
	case strings.HasPrefix(status, "1"):
		a.Informational = append(a.Informational, fields)
	default:
		a.Fields = fields
	}
}

func fieldsOf(list []hpack.HeaderField) []Field {
	fields := make([]Field, 0, len(list))
	for _, f := range list {
		fields = append(fields, Field{f.Name, f.Value})
	}
	return fields
}
