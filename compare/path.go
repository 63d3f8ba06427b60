package compare

import (
	"errors"
	"strconv"
	"strings"
)

// A Path selects values in JSON bodies: one, or all at places alike, with all
// that is in them.
//
//	$.id                   the member id of the body
//	$.lines[*].updatedAt   updatedAt of every element of lines
//	$.lines[0]             the first element
//	$.totals.*             every member of totals
//	$..updatedAt           updatedAt wherever it is
//	$['a.b']               a member whose name is not plain
type Path struct {
	text  string
	steps []string // as in the path of a value; "*" for any member, "[*]" for any element, ".." for any number of any
}

// errPath says what a path looks like.
var errPath = errors.New("a JSON path, such as $.id or $.lines[*].updatedAt")

// ParsePath returns the path that text writes. The error says what it takes.
func ParsePath(text string) (Path, error) {
	p := Path{text: text}
	rest, ok := strings.CutPrefix(text, "$")
	if !ok {
		return p, errPath
	}
	for rest != "" {
		step, after, err := nextStep(rest)
		if err != nil {
			return p, err
		}
		if step == ".." {
			if after == "" || after[0] == '.' {
				return p, errPath
			}
			if after[0] != '[' {
				after = "." + after
			}
		}
		p.steps = append(p.steps, step)
		rest = after
	}
	if len(p.steps) == 0 {
		return p, errors.New("a path below $: for no comparison of bodies set compare.body to off")
	}
	return p, nil
}

// nextStep returns the first step that text writes, and what follows it.
func nextStep(text string) (step, rest string, err error) {
	if strings.HasPrefix(text, "..") {
		return "..", text[2:], nil
	}
	if strings.HasPrefix(text, ".") {
		text = text[1:]
		end := strings.IndexAny(text, ".[")
		if end < 0 {
			end = len(text)
		}
		name := text[:end]
		if name == "" || strings.ContainsAny(name, "]'\" ") {
			return "", "", errPath
		}
		if name == "*" {
			return "*", text[end:], nil
		}
		return memberStep(name), text[end:], nil
	}
	if strings.HasPrefix(text, "['") {
		end := strings.Index(text, "']")
		if end < 0 {
			return "", "", errPath
		}
		return memberStep(text[2:end]), text[end+2:], nil
	}
	if strings.HasPrefix(text, "[") {
		end := strings.Index(text, "]")
		if end < 0 {
			return "", "", errPath
		}
		inside := text[1:end]
		if inside == "*" {
			return "[*]", text[end+1:], nil
		}
		place, err := strconv.ParseUint(inside, 10, 31)
		if err != nil {
			return "", "", errPath
		}
		return elementStep(int(place)), text[end+1:], nil
	}
	return "", "", errPath
}

// String returns the path as it was written.
func (p Path) String() string { return p.text }

// memberStep is the step to a member of an object.
func memberStep(name string) string { return "." + name }

// elementStep is the step to an element of a list.
func elementStep(i int) string { return "[" + strconv.Itoa(i) + "]" }

// matches reports whether the path selects the value at the steps.
func (p Path) matches(path []string) bool { return matchSteps(p.steps, path) }

func matchSteps(pattern, path []string) bool {
	for i, want := range pattern {
		if want == ".." {
			for j := i; j < len(path); j++ {
				if matchSteps(pattern[i+1:], path[j:]) {
					return true
				}
			}
			return false
		}
		if i >= len(path) || !matchStep(want, path[i]) {
			return false
		}
	}
	return len(pattern) == len(path)
}

func matchStep(want, step string) bool {
	if want == "*" {
		return strings.HasPrefix(step, ".")
	}
	if want == "[*]" {
		return strings.HasPrefix(step, "[")
	}
	return want == step
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
	if strings.HasPrefix(step, "[") {
		return "[*]"
	}
	if plainName(step[1:]) {
		return step
	}
	return "['" + step[1:] + "']"
}

func cutKey(key string) string { return cut(key, maxKey) }

// plainName reports whether a member's name can be written after a dot.
func plainName(name string) bool {
	return name != "" && name != "*" && !strings.ContainsAny(name, ".[]'\" ,\\\t\r\n")
}
