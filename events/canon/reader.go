package canon

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// Reader reads one value. When it meets what it does not take, it remembers
// that, and gives zero values from there on; Done tells.
type Reader struct {
	text []byte
	at   int
	bad  bool
}

// Read begins to read a text. Strings that are read are copies of its parts.
func Read(text []byte) *Reader { return &Reader{text: text} }

// Done reports whether the whole text was taken.
func (r *Reader) Done() bool { return !r.bad && r.at == len(r.text) }

// OK reports whether all that was asked for was there.
func (r *Reader) OK() bool { return !r.bad }

// Begin begins an object of which no more than the first fields are asked for.
func (r *Reader) Begin() { r.skip('{') }

// Fail gives up: the text holds what only encoding/json shall read.
func (r *Reader) Fail() {
	r.bad, r.at = true, len(r.text)
}

func (r *Reader) peek() byte {
	if r.at < len(r.text) {
		return r.text[r.at]
	}
	return 0
}

func (r *Reader) skip(c byte) {
	if r.peek() != c {
		r.Fail()
		return
	}
	r.at++
}

func (r *Reader) literal(s string) bool {
	if end := r.at + len(s); end > len(r.text) || string(r.text[r.at:end]) != s {
		return false
	}
	r.at += len(s)
	return true
}

// Object reads an object; fields asks for its fields, in their order.
func (r *Reader) Object(fields func()) {
	r.skip('{')
	fields()
	r.skip('}')
}

// Has takes a field's name, if it is the next one. The name must be one that
// JSON writes as it is.
func (r *Reader) Has(name string) bool {
	at := r.at
	if at > 0 && at < len(r.text) && r.text[at-1] != '{' {
		if r.text[at] != ',' {
			return false
		}
		at++
	}
	end := at + len(name) + 3
	if end > len(r.text) || r.text[at] != '"' || string(r.text[at+1:end-2]) != name || r.text[end-2] != '"' || r.text[end-1] != ':' {
		return false
	}
	r.at = end
	return true
}

// Must takes the name of a field that is always written.
func (r *Reader) Must(name string) {
	if !r.Has(name) {
		r.Fail()
	}
}

// String reads a string.
func (r *Reader) String() string { return string(r.plain()) }

// StringAs is String for one that is mostly like another, which it then is.
func (r *Reader) StringAs(other string) string {
	if s := r.plain(); string(s) != other {
		return string(s)
	}
	return other
}

// Shared reads a string that many texts hold, such as a host's name: all of
// them then share one.
func (r *Reader) Shared() string { return Shared(r.plain()) }

// plain reads a string, of which what it gives is mostly a part of the text.
func (r *Reader) plain() []byte {
	r.skip('"')
	start, ascii := r.at, true
	for i := start; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == '"':
			r.at = i + 1
			s := r.text[start:i]
			if !ascii && !utf8.Valid(s) {
				r.Fail() // encoding/json mends it
				return nil
			}
			return s
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			r.Fail()
			return nil
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	r.Fail()
	return nil
}

// escaped reads a string with escapes, as encoding/json does.
func (r *Reader) escaped(start int) []byte {
	var s string
	for i := start; i < len(r.text); i++ {
		switch r.text[i] {
		case '\\':
			i++
		case '"':
			if json.Unmarshal(r.text[start-1:i+1], &s) != nil {
				break
			}
			r.at = i + 1
			return []byte(s)
		}
	}
	r.Fail()
	return nil
}

// number is the text of an integer.
func (r *Reader) number() []byte {
	start := r.at
	if r.peek() == '-' {
		r.at++
	}
	first := r.at
	for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		r.at++
	}
	if r.at == first || r.text[first] == '0' && r.at > first+1 {
		r.Fail()
		return nil
	}
	switch r.peek() {
	case '.', 'e', 'E':
		r.Fail()
	}
	return r.text[start:r.at]
}

// Int reads an integer of so many bits.
func (r *Reader) Int(bits int) int64 {
	n, err := strconv.ParseInt(string(r.number()), 10, bits)
	if err != nil {
		r.Fail()
	}
	return n
}

// Uint reads an integer that is not negative, of so many bits.
func (r *Reader) Uint(bits int) uint64 {
	n, err := strconv.ParseUint(string(r.number()), 10, bits)
	if err != nil {
		r.Fail()
	}
	return n
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	switch {
	case r.literal("true"):
		return true
	case r.literal("false"):
	default:
		r.Fail()
	}
	return false
}

// Time reads a time (RFC 3339). Escapes, which encoding/json does not resolve
// here, are not taken.
func (r *Reader) Time() (t time.Time) {
	start := r.at
	s := r.plain()
	if r.bad || r.at-start != len(s)+2 {
		r.Fail()
		return t
	}
	t, err := Time(s)
	if err != nil {
		r.Fail()
	}
	return t
}

// Addr reads an address; an empty string is none.
func (r *Reader) Addr() (a netip.Addr) {
	if a.UnmarshalText(r.plain()) != nil {
		r.Fail()
	}
	return a
}

// Prefix reads a network; an empty string is none.
func (r *Reader) Prefix() (p netip.Prefix) {
	if p.UnmarshalText(r.plain()) != nil {
		r.Fail()
	}
	return p
}

// List reads an array.
func List[T any](r *Reader, element func() T) []T {
	r.skip('[')
	list := []T{}
	for first := true; !r.bad && r.peek() != ']'; first = false {
		if !first {
			r.skip(',')
		}
		list = append(list, element())
	}
	r.skip(']')
	return list
}

// Map reads an object whose names and values are strings. Texts that hold the
// same one share the map: it is not to be changed.
func (r *Reader) Map() map[string]string {
	start := r.at
	end := r.objectEnd()
	if end-start > maxMap {
		return r.readMap()
	}
	text := r.text[start:end]
	at := &recentMaps[place(text)%uint64(len(recentMaps))]
	if p := at.Load(); p != nil && p.text == string(text) {
		r.at = end
		return p.m
	}
	m := r.readMap()
	if !r.bad && r.at == end {
		at.Store(&readText{string(text), m})
	}
	return m
}

// objectEnd is where an object of strings ends that begins here.
func (r *Reader) objectEnd() int {
	quoted := false
	for i := r.at; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\':
			i++
		case c == '}' && !quoted:
			return i + 1
		}
	}
	return len(r.text)
}

func (r *Reader) readMap() map[string]string {
	r.skip('{')
	m := map[string]string{}
	for first := true; !r.bad && r.peek() != '}'; first = false {
		if !first {
			r.skip(',')
		}
		name := r.Shared()
		r.skip(':')
		m[name] = r.Shared()
	}
	r.skip('}')
	return m
}
