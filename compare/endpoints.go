package compare

import "strings"

// How endpoints are told apart, and how much of it is remembered.
const (
	// clearPairs is how many pairs a part of a path has to have been in to be shown: a
	// name that came a few times may be a customer's.
	clearPairs = 20

	// maxSiblings is how many parts that are seldom may stand in one place. With more of
	// them that place holds identifiers, whatever they look like.
	maxSiblings = 20

	maxPlaces   = 500 // in paths
	maxSegments = 8   // of a path that are looked at; what is below goes together
)

// anything stands for any part of a path, and rest for all that is below.
const (
	anything = "*"
	rest     = "…"
)

// A namer finds the endpoint of a request: its method and its path, with * for what
// looks like an identifier, by its form or by what was seen in its place. The lock of
// the verdict guards it.
type namer struct {
	places map[string]*siblings // by the method and the pattern in front
}

// siblings are the words that were seen in one place of paths.
type siblings struct {
	words map[string]bool
	many  bool // too many that are seldom: they are identifiers, and no further ones are told apart
}

func newNamer() *namer { return &namer{places: map[string]*siblings{}} }

// pattern returns the pattern of a path as it is kept: identifiers are *, and words are
// themselves, to be shown only once they have been seen often. It also returns the
// places that have one word more than before, and many.
func (n *namer) pattern(method, path string) (pattern string, crowded []string) {
	pattern = ""
	crowded = nil
	for i, part := range strings.Split(strings.TrimPrefix(path, "/"), "/") {
		if i == maxSegments {
			return pattern + "/" + rest, crowded
		}
		if !isWord(part, pattern) {
			part = anything
		} else if part != "" && !version(part) {
			place := method + " " + pattern
			word, more := n.place(place, part)
			part = word
			if more {
				crowded = append(crowded, place)
			}
		}
		pattern += "/" + part
	}
	return pattern, crowded
}

// known returns the pattern of a path by what was seen before; false if a part of it is
// new.
func (n *namer) known(method, path string) (pattern string, known bool) {
	pattern = ""
	known = false
	for i, part := range strings.Split(strings.TrimPrefix(path, "/"), "/") {
		if i == maxSegments {
			return pattern + "/" + rest, true
		}
		if !isWord(part, pattern) {
			part = anything
		} else if part != "" && !version(part) {
			s := n.places[method+" "+pattern]
			if s == nil || !s.words[part] && !s.many {
				return "", false
			}
			if !s.words[part] {
				part = anything
			}
		}
		pattern += "/" + part
	}
	return pattern, true
}

// place returns a word that stands in a place, or * for it, and whether it is new there
// and one of many.
func (n *namer) place(place, word string) (string, bool) {
	s := n.places[place]
	if s == nil {
		if len(n.places) >= maxPlaces {
			return anything, false
		}
		s = &siblings{words: map[string]bool{}}
		n.places[place] = s
	}
	if s.words[word] {
		return word, false
	}
	if s.many {
		return anything, false
	}
	s.words[strings.Clone(word)] = true
	return word, len(s.words) > maxSiblings
}

// shown is a pattern as it may be shown: with * for words that were not in enough pairs.
func shownPattern(method, pattern string, pairs map[string]int64) string {
	kept := method + " "
	shown := ""
	for _, part := range strings.Split(strings.TrimPrefix(pattern, "/"), "/") {
		kept += "/" + part
		if part != anything && part != rest && part != "" && !version(part) && pairs[kept] < clearPairs {
			part = anything
		}
		shown += "/" + part
	}
	return shown
}

// isWord reports whether a part of a path may be the name of something that a service
// has, and not an identifier: letters alone, or the version of an API. Words with a
// hyphen, an underscore or a dot between are names of customers as often as of things,
// so they are taken for words only where a service's own names are: at the beginning.
func isWord(part, before string) bool {
	if part == "" || version(part) {
		return true
	}
	if len(part) > 24 || onlyLetters(part) {
		return len(part) <= 24
	}
	joined := strings.NewReplacer("-", "", "_", "", ".", "").Replace(part)
	return len(joined) > 0 && onlyLetters(joined) && atBeginning(before)
}

func onlyLetters(part string) bool {
	for i := 0; i < len(part); i++ {
		if c := part[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// atBeginning reports whether nothing is before a part of a path but what APIs begin
// with.
func atBeginning(before string) bool {
	for _, part := range strings.Split(before, "/") {
		if part != "" && !version(part) && part != "api" && part != "rest" {
			return false
		}
	}
	return true
}

// version reports whether a part of a path is that of an API's version: v1, v12.
func version(part string) bool {
	return len(part) >= 2 && len(part) <= 3 && part[0] == 'v' && strings.Trim(part[1:], "0123456789") == ""
}
