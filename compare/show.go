package compare

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxShown is how much of a value is shown, in bytes.
const maxShown = 120

// A Value is one side of a difference. What is in it does not leave the process
// but by Shown.
type Value struct {
	Kind   string // string, number, boolean, null, object, array, header, cookie, body, or "" for a value that is not there
	Text   string // as it is shown; of an object or array nothing that is in it, which may be ignored
	Public bool   // a status: shown whatever the options say
	Secret bool   // a credential: shown as a hash whatever the options say

	place string // where in a body the two begin to differ; shown with a hash
	hash  string // of the whole value
	whole string // the value; kept no longer than the difference
}

// identity tells values apart.
func (v Value) identity() string {
	if v.hash != "" {
		return v.hash
	}
	return v.Kind + v.Text
}

// secretHeader matches the names of headers that carry credentials.
var secretHeader = regexp.MustCompile(`(?i)cookie|auth|token|key|secret|session|credential|signature`)

// hashKey makes hashes useless to anybody without it: amounts and names are few
// enough to be guessed from plain ones. It is new with every start.
var hashKey = newKey()

func newKey() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

// Hash returns eight digits that are equal for equal values, for as long as the
// process runs.
func Hash(text string) string { return keyedHash(hashKey, text) }

// hash is Hash, with the key of the rules if they have one.
func (r *Rules) hash(text string) string {
	if r.HashKey == "" {
		return Hash(text)
	}
	return keyedHash([]byte(r.HashKey), text)
}

func keyedHash(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// Shown returns the value as show, which is Values, Hashes or None, has it.
func (v Value) Shown(show string) string {
	if v.Public {
		return v.Text
	}
	switch v.Kind {
	case "":
		return "missing"
	case "null", "object":
		return v.Kind
	case "array":
		return v.Text
	}
	if show == None {
		return v.Kind
	}
	if show == Hashes || v.Secret {
		return v.Kind + " #" + v.hash + v.place
	}
	return v.Text
}

// value returns the value of a kind that whole is, of which shown is what may be
// shown. Of two long ones that differ far down the hashes tell.
func (r *Rules) value(kind, shown, whole string) Value {
	v := Value{Kind: kind, Text: cut(shown, maxShown), hash: r.hash(whole), whole: whole}
	if len(shown) > maxShown {
		v.Text += " #" + v.hash
	}
	return v
}

// jsonValue is a value of a JSON body, or none where the body does not have it.
func jsonValue(r *Rules, v interface{}, there bool) Value {
	if !there {
		return Value{}
	}
	switch x := v.(type) {
	case nil:
		return Value{Kind: "null"}
	case bool:
		return r.value("boolean", fmt.Sprint(x), fmt.Sprint(x))
	case json.Number:
		return r.value("number", numberText(string(x)), string(x))
	case string:
		return r.value("string", strings.ReplaceAll(strconv.Quote(x), `\ufdd0`, `\u`), x)
	case []interface{}:
		return Value{Kind: "array", Text: fmt.Sprintf("array of %d", len(x))}
	}
	return Value{Kind: "object"}
}

func headerValue(r *Rules, name string, values []string) Value {
	if values == nil {
		return Value{}
	}
	joined := strings.Join(values, ", ")
	v := r.value("header", joined, joined)
	v.Secret = secretHeader.MatchString(name)
	return v
}

// bodyValue is a body that is compared as bytes: its type, its size, and what it has where
// the two begin to differ. Of one in which paths lead to values, only where, if there are
// rules: what is there may be at one that is ignored.
func bodyValue(r *Rules, a *Answer, body, other []byte) Value {
	kind, _, _ := strings.Cut(first(a.Header["Content-Type"]), ";")
	if kind == "" {
		kind = "no type"
	}
	at := common(body, other)
	shown := fmt.Sprintf("%s, %d bytes, from byte %d", cut(kind, 40), len(body), at)
	if len(r.Ignore) == 0 || !looksStructured(a, body) {
		shown += fmt.Sprintf(": %q", cut(string(body[at:]), 40))
	}
	return Value{Kind: "body", Text: shown, hash: r.hash(string(body)), place: ", from byte " + strconv.Itoa(at)}
}

// sizeValue is a body of which only its length is known to differ. text is what is in it,
// if that is known.
func sizeValue(r *Rules, a *Answer, text []byte) Value {
	kind := kindOfBody(a)
	if kind == "" {
		kind = "no type"
	}
	shown := fmt.Sprintf("%s, %d bytes", cut(kind, 40), len(text))
	if text == nil && size(a) > 0 && encoding(a) == "" {
		shown = fmt.Sprintf("%s, %d bytes", cut(kind, 40), size(a))
	} else if text == nil && size(a) != 0 {
		shown = fmt.Sprintf("%s, more than %d bytes", cut(kind, 40), r.MaxBodySize)
	}
	return Value{Kind: "body", Text: shown, hash: r.hash(shown)}
}

// corruptValue is a body that is not compressed as its headers say.
func corruptValue(r *Rules, a *Answer) Value {
	shown := fmt.Sprintf("%d bytes that are not %s", len(a.Body), cut(encoding(a), 20))
	return Value{Kind: "body", Text: shown, hash: r.hash(string(a.Body))}
}

// looksStructured reports whether paths lead to values in the body, by its type or its
// beginning.
func looksStructured(a *Answer, body []byte) bool {
	text := bytes.TrimSpace(body)
	return formatOf(kindOfBody(a)) != "" || len(text) > 0 && (text[0] == '{' || text[0] == '[' || text[0] == '<' && kindOfBody(a) != "text/html")
}

// common returns how many bytes a and b begin with alike. It halves what is left
// to look at, because interpreted a loop over the bytes takes milliseconds.
func common(a, b []byte) int {
	n := len(a)
	if len(b) < n {
		n = len(b)
	}
	return sort.Search(n, func(i int) bool { return !bytes.Equal(a[:i+1], b[:i+1]) })
}

// cut shortens text to about max bytes, not within a character.
func cut(text string, max int) string {
	if len(text) <= max {
		return text
	}
	for max > 0 && !utf8.RuneStart(text[max]) {
		max--
	}
	return text[:max] + "…"
}
