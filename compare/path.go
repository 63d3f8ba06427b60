package compare

import (
	"errors"
	"fmt"
	"strings"
)

// A Path selects values in bodies: one, or all at places alike, with all that is in
// them.
//
//	$.id                   the member id of the body
//	$.lines[*].updatedAt   updatedAt of every element of lines
//	$.totals.*             every member of totals
//	$..updatedAt           updatedAt wherever it is
//	$['a.b']               a member whose name is not plain
//
// Places in a list are not told apart: a difference's key has [*] for all of them.
type Path struct {
	text  string
	steps []string // as in the path of a value; "*" for any member, "[*]" for the elements, ".." for any number of any
}

// errPath says what a path looks like.
var errPath = errors.New("a JSON path, such as $.id or $.lines[*].updatedAt")

// wrongAt is errPath, or what takes says in place of it, with where in text it goes wrong,
// which is where rest begins, and what should be there.
func wrongAt(takes, text, rest, wants string) error {
	return fmt.Errorf("%s; at character %d %s", takes, len(text)-len(rest)+1, wants)
}

// ParsePath returns the path that text writes. The error says what it takes, and where
// text is something else.
func ParsePath(text string) (Path, error) {
	p := Path{text: text}
	rest, ok := strings.CutPrefix(text, "$")
	if !ok {
		return p, wrongAt(errPath.Error(), text, text, "a $ is missing")
	}
	for rest != "" {
		step, after, wants := nextStep(rest)
		if wants != "" {
			return p, wrongAt(errPath.Error(), text, rest, wants)
		}
		if step == ".." {
			if after == "" || after[0] == '.' {
				return p, wrongAt(errPath.Error(), text, after, "there has to be a name or [*] after ..")
			}
			if after[0] != '[' {
				after = "." + after
			}
		}
		p.steps = append(p.steps, step)
		rest = after
	}
	if len(p.steps) == 0 {
		return p, errors.New("a path below $: for all of a body there is the word body, and for no comparison of bodies compare.body: off")
	}
	return p, nil
}

// nextStep returns the first step that text writes, and what follows it; or what is wrong
// with it.
func nextStep(text string) (step, rest, wants string) {
	if strings.HasPrefix(text, "..") {
		return "..", text[2:], ""
	}
	if strings.HasPrefix(text, ".") {
		text = text[1:]
		end := strings.IndexAny(text, ".[")
		if end < 0 {
			end = len(text)
		}
		name := text[:end]
		if name == "" {
			return "", "", "there is a dot without a name"
		}
		if strings.ContainsAny(name, "]'\" ") {
			return "", "", "there is a name that has to be written ['like this']"
		}
		if name == anyMember {
			return anyMember, text[end:], ""
		}
		return memberStep(name), text[end:], ""
	}
	if name, found := strings.CutPrefix(text, "['"); found {
		end := strings.Index(name, "']")
		if end < 0 {
			return "", "", "there is [' without ']"
		}
		return memberStep(name[:end]), name[end+2:], ""
	}
	if strings.HasPrefix(text, "[*]") {
		return elements, text[3:], ""
	}
	if strings.HasPrefix(text, "[") {
		return "", "", "there has to be [*]: places in a list are not told apart"
	}
	return "", "", "there has to be a dot, [*] or ['a name']"
}

// String returns the path as it was written.
func (p Path) String() string { return p.text }

// elements is the step to the elements of a list.
const elements = "[*]"

// memberStep is the step to a member of an object.
func memberStep(name string) string { return "." + name }

// selects reports whether the path selects the value at the steps itself.
func (p Path) selects(path []string) bool { return matchSteps(p.steps, path, false) }

// covers reports whether the path selects the value at the steps, or one that it is in.
func (p Path) covers(path []string) bool { return matchSteps(p.steps, path, true) }

// matchSteps takes no longer than the product of both lengths: of several .. only the last
// is tried anew.
func matchSteps(pattern, path []string, within bool) bool {
	i, j := 0, 0
	last, from := -1, 0 // the last .. in the pattern, and what it has in the path
	for {
		if i == len(pattern) && (within || j == len(path)) {
			return true
		}
		if i < len(pattern) && pattern[i] == ".." {
			last = i
			from = j
			i++
			continue
		}
		if i < len(pattern) && j < len(path) && matchStep(pattern[i], path[j]) {
			i++
			j++
			continue
		}
		if last < 0 || from >= len(path) {
			return false
		}
		from++
		j = from
		i = last + 1
	}
}

func matchStep(want, step string) bool {
	if want == anyMember {
		return step == anyMember || strings.HasPrefix(step, ".")
	}
	return want == step
}

// stepsOf returns the steps that a difference's key writes. A key may be cut, and a name
// may look like several steps: what cannot be read is one.
func stepsOf(key string) []string {
	var steps []string
	rest := strings.TrimPrefix(key, "$")
	for rest != "" {
		step, after, wants := nextStep(rest)
		if wants != "" || step == ".." {
			return append(steps, rest)
		}
		steps = append(steps, step)
		rest = after
	}
	return steps
}

// maxKey is how long a difference's key may be, in bytes.
const maxKey = 200

// keyOf is the path that selects the value at the steps, and those at the same
// place in other elements.
func keyOf(path []string) string {
	key := "$"
	for _, step := range path {
		key += keyOfStep(step)
	}
	return cutKey(key)
}

func keyOfStep(step string) string {
	if step == anyMember {
		return "." + anyMember
	}
	if step == elements || plainName(step[1:]) {
		return step
	}
	return "['" + step[1:] + "']"
}

func cutKey(key string) string { return cut(key, maxKey) }

// plainName reports whether a member's name can be written after a dot.
func plainName(name string) bool {
	return name != "" && name != "*" && strings.TrimSpace(name) == name && !strings.ContainsAny(name, ".[]'\" ,\\\t\r\n")
}
