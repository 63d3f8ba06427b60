package compare

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
)

// An element is one of an XML document.
type element struct {
	key        string // the path to it, with its names only
	name       string
	attributes map[string]interface{}
	text       []byte
	before     int // how much of the text that it stands in is before it
	children   []*element
	count      map[string]int // of children, by name
}

// A shape says what elements at the same place are like in either document, so that they
// become values of the same type: by key, whether there are several, and whether they have
// anything but text.
type shape struct {
	several, more map[string]bool
	keys          map[string]string // by the key that they are below, and the name
}

// compareXML compares two documents by element and attribute, as JSON would have them:
//
//	<invoice number="7"><line sku="A"/><line/><total>5.00</total></invoice>
//
// has $.invoice.@number, $.invoice.line[*].@sku and $.invoice.total. Text beside
// attributes or elements is #text, with the names of the elements where they stand in it:
// Pay <b> by Friday. Prefixes, comments and white space between elements
// mean nothing.
func compareXML(r *Rules, f *Finding, live, shadow []byte) bool {
	d := newDiffer(r, f)
	defer func() { d.leave() }()
	s := &shape{several: map[string]bool{}, more: map[string]bool{}, keys: map[string]string{}}
	l, ok := d.parseXML(live, s)
	if !ok {
		return d.finding.More && d.gaveUp()
	}
	o, ok := d.parseXML(shadow, s)
	if !ok {
		return d.finding.More && d.gaveUp()
	}
	d.compareObjects(map[string]interface{}{l.name: s.value(l)}, map[string]interface{}{o.name: s.value(o)}, root)
	d.conclude()
	return true
}

func (d *differ) gaveUp() bool {
	d.conclude()
	return true
}

// parseXML returns the root of a document; false if it is none, or more than is looked at.
func (d *differ) parseXML(text []byte, s *shape) (*element, bool) {
	decoder := xml.NewDecoder(bytes.NewReader(text))
	// The text is known to be UTF-8, whatever it says.
	decoder.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	top := &element{count: map[string]int{}, key: "$"}
	open := []*element{top}
	spaces := []string{""}
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, false
		}
		current := open[len(open)-1]
		if start, ok := token.(xml.StartElement); ok {
			if len(open) > maxDepth || !d.steps(2) {
				return nil, false
			}
			key, known := s.keys[current.key+" "+start.Name.Local]
			if !known {
				key = current.key + keyOfStep(memberStep(start.Name.Local))
				s.keys[current.key+" "+start.Name.Local] = key
			}
			e := &element{name: start.Name.Local, key: key, attributes: map[string]interface{}{}, count: map[string]int{}, before: len(current.text)}
			for _, a := range start.Attr {
				if name := attributeName(a.Name); name != "" {
					e.attributes[name] = a.Value
				}
			}
			if start.Name.Space != spaces[len(spaces)-1] {
				e.attributes["@xmlns"] = start.Name.Space
			}
			if len(e.attributes) > 0 {
				s.more[e.key] = true
			}
			s.more[current.key] = true
			current.count[e.name]++
			if current.count[e.name] > 1 {
				s.several[e.key] = true
			}
			current.children = append(current.children, e)
			open = append(open, e)
			spaces = append(spaces, start.Name.Space)
		} else if data, ok := token.(xml.CharData); ok {
			current.text = append(current.text, data...)
		} else if _, ok := token.(xml.EndElement); ok {
			open = open[:len(open)-1]
			spaces = spaces[:len(spaces)-1]
		}
	}
	if len(top.children) != 1 || len(open) != 1 {
		return nil, false
	}
	return top.children[0], true
}

// attributeName is an attribute's as a member; "" for one that only makes a prefix known.
func attributeName(name xml.Name) string {
	if name.Space == "xmlns" || name.Space == "" && name.Local == "xmlns" {
		return ""
	}
	if name.Space == "" {
		return "@" + name.Local
	}
	return "@" + name.Space + ":" + name.Local
}

// mixed is the text of an element that has elements in it, with their names.
func (e *element) mixed() string {
	var text strings.Builder
	from := 0
	for i := 0; i <= len(e.children); i++ {
		to := len(e.text)
		if i < len(e.children) {
			to = e.children[i].before
		}
		part := string(e.text[from:to])
		if strings.TrimSpace(part) != "" {
			text.WriteString(part)
		}
		if i < len(e.children) {
			text.WriteString("<" + e.children[i].name + ">")
		}
		from = to
	}
	return strings.TrimSpace(text.String())
}

// value is an element as a JSON value.
func (s *shape) value(e *element) interface{} {
	if !s.more[e.key] {
		return string(e.text)
	}
	object := e.attributes
	text := strings.TrimSpace(string(e.text))
	if text != "" && len(e.children) > 0 {
		text = e.mixed()
	}
	if text != "" {
		object["#text"] = text
	}
	for _, child := range e.children {
		if !s.several[child.key] {
			object[child.name] = s.value(child)
			continue
		}
		list, _ := object[child.name].([]interface{})
		object[child.name] = append(list, s.value(child))
	}
	return object
}
