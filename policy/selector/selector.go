package selector

import (
	"crypto/sha256"
	"encoding/base32"
	"slices"
	"strings"
)

// Labels gives the value of a label, and whether it is present at all.
type Labels interface {
	Get(key string) (value string, present bool)
}

// Map is a plain map as Labels.
type Map map[string]string

// Get returns the value of key and whether the map has it.
func (m Map) Get(key string) (string, bool) {
	v, ok := m[key]
	return v, ok
}

// Selector is a parsed selector. It never changes, so it may be shared.
type Selector struct{ root node }

type op uint8

const (
	opAll op = iota
	opGlobal
	opHas
	opEq
	opNe
	opContains
	opStartsWith
	opEndsWith
	opIn
	opNotIn
	opNot
	opAnd
	opOr
)

// node is one operation. A test uses key with value or values; not, and, or
// use kids.
type node struct {
	op     op
	key    string
	value  string
	values []string // sorted, once each
	kids   []node
}

// Matches reports whether the labels satisfy the selector.
func (s *Selector) Matches(l Labels) bool { return s.root.matches(l) }

func (n *node) matches(l Labels) bool {
	switch n.op {
	case opAll, opGlobal:
		return true
	case opNot:
		return !n.kids[0].matches(l)
	case opAnd:
		for i := range n.kids {
			if !n.kids[i].matches(l) {
				return false
			}
		}
		return true
	case opOr:
		for i := range n.kids {
			if n.kids[i].matches(l) {
				return true
			}
		}
		return false
	}
	v, ok := l.Get(n.key)
	switch n.op {
	case opHas:
		return ok
	case opEq:
		return ok && v == n.value
	case opNe:
		return !ok || v != n.value
	case opContains:
		return ok && strings.Contains(v, n.value)
	case opStartsWith:
		return ok && strings.HasPrefix(v, n.value)
	case opEndsWith:
		return ok && strings.HasSuffix(v, n.value)
	case opIn:
		return ok && n.holds(v)
	case opNotIn:
		return !ok || !n.holds(v)
	}
	return false
}

func (n *node) holds(v string) bool {
	_, ok := slices.BinarySearch(n.values, v)
	return ok
}

// Keys lists the label keys that the selector looks at, sorted, once each.
func (s *Selector) Keys() []string {
	var keys []string
	s.root.walk(func(n *node) {
		if n.key != "" {
			keys = append(keys, n.key)
		}
	})
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Global reports whether the selector has a global() in it.
func (s *Selector) Global() bool {
	found := false
	s.root.walk(func(n *node) { found = found || n.op == opGlobal })
	return found
}

func (n *node) walk(visit func(*node)) {
	visit(n)
	for i := range n.kids {
		n.kids[i].walk(visit)
	}
}

// String is the canonical form: parsing it gives an equal selector, and texts
// that differ only in blanks, quotes, needless parentheses or the order of a
// list have the same one.
func (s *Selector) String() string {
	var b strings.Builder
	s.root.write(&b)
	return b.String()
}

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Hash is a short name for a text: 80 bits of its SHA-256 as 16 characters of
// a-z2-7.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return encoding.EncodeToString(sum[:10])
}

func (n *node) write(b *strings.Builder) {
	switch n.op {
	case opAll:
		b.WriteString("all()")
	case opGlobal:
		b.WriteString("global()")
	case opHas:
		b.WriteString("has(" + n.key + ")")
	case opIn, opNotIn:
		b.WriteString(n.key + map[bool]string{true: " in {", false: " not in {"}[n.op == opIn])
		for i, v := range n.values {
			if i > 0 {
				b.WriteString(", ")
			}
			writeQuoted(b, v)
		}
		b.WriteByte('}')
	case opNot:
		b.WriteByte('!')
		k := &n.kids[0]
		k.writeIn(b, k.op > opHas)
	case opAnd:
		for i := range n.kids {
			if i > 0 {
				b.WriteString(" && ")
			}
			n.kids[i].writeIn(b, n.kids[i].op == opOr)
		}
	case opOr:
		for i := range n.kids {
			if i > 0 {
				b.WriteString(" || ")
			}
			n.kids[i].write(b)
		}
	default:
		b.WriteString(n.key)
		b.WriteString(testText[n.op])
		writeQuoted(b, n.value)
	}
}

var testText = map[op]string{
	opEq: " == ", opNe: " != ", opContains: " contains ", opStartsWith: " starts with ", opEndsWith: " ends with ",
}

func (n *node) writeIn(b *strings.Builder, parentheses bool) {
	if !parentheses {
		n.write(b)
		return
	}
	b.WriteByte('(')
	n.write(b)
	b.WriteByte(')')
}

func writeQuoted(b *strings.Builder, v string) {
	quote := byte('\'')
	if strings.IndexByte(v, quote) >= 0 {
		quote = '"' // a value holds one kind of quote at most: the grammar has no escapes
	}
	b.WriteByte(quote)
	b.WriteString(v)
	b.WriteByte(quote)
}
