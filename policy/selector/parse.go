package selector

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds on what Parse accepts: a selector may come from a hostile file.
const (
	MaxLength = 16 << 10 // bytes of text
	MaxDepth  = 64       // parentheses and negations inside each other
	maxKey    = 512      // bytes of a label's key, as in Calico
)

// Parse reads a selector. A blank text selects everything, as in Calico. A
// failure is an *Error.
func Parse(text string) (*Selector, error) {
	if len(text) > MaxLength {
		return nil, &Error{MaxLength, fmt.Sprintf("the selector has %d characters", len(text)),
			fmt.Sprintf("write at most %d, or give the things that it names a label of their own", MaxLength)}
	}
	p := parser{text: text}
	p.blanks()
	if p.pos == len(text) {
		return All(), nil
	}
	n, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.pos < len(text) {
		return nil, p.trailing()
	}
	return &Selector{n}, nil
}

type parser struct {
	text string
	pos  int
}

func (p *parser) fail(pos int, instead, format string, args ...any) *Error {
	return &Error{pos + 1, fmt.Sprintf(format, args...), instead}
}

// blanks skips white space. Newlines count: YAML folds long selectors.
func (p *parser) blanks() {
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// take consumes a symbol and the blanks after it.
func (p *parser) take(symbol string) bool {
	if !strings.HasPrefix(p.text[p.pos:], symbol) {
		return false
	}
	p.pos += len(symbol)
	p.blanks()
	return true
}

func (p *parser) or(depth int) (node, error)  { return p.chain(depth, opOr, "||") }
func (p *parser) and(depth int) (node, error) { return p.chain(depth, opAnd, "&&") }

func (p *parser) chain(depth int, kind op, symbol string) (node, error) {
	next := p.unary
	if kind == opOr {
		next = p.and
	}
	first, err := next(depth)
	if err != nil || !p.take(symbol) {
		return first, err
	}
	n := node{op: kind, kids: make([]node, 0, 4)}
	n.adopt(first)
	for {
		kid, err := next(depth)
		if err != nil {
			return node{}, err
		}
		n.adopt(kid)
		if !p.take(symbol) {
			return n, nil
		}
	}
}

// adopt appends a kid, and takes in the kids of a kid of the same kind: a && (b
// && c) is a && b && c.
func (n *node) adopt(kid node) {
	if kid.op == n.op {
		n.kids = append(n.kids, kid.kids...)
		return
	}
	n.kids = append(n.kids, kid)
}

func (p *parser) unary(depth int) (node, error) {
	if depth > MaxDepth {
		return node{}, p.fail(p.pos, "remove parentheses that are not needed", "more than %d levels of parentheses and negations", MaxDepth)
	}
	if p.pos < len(p.text) && p.text[p.pos] == '!' {
		if strings.HasPrefix(p.text[p.pos:], "!=") {
			return node{}, p.fail(p.pos, "write the label's key before it", "!= without a label")
		}
		p.take("!")
		kid, err := p.unary(depth + 1)
		if err != nil {
			return node{}, err
		}
		return not(kid), nil
	}
	open := p.pos
	if !p.take("(") {
		return p.atom()
	}
	n, err := p.or(depth + 1)
	if err != nil {
		return node{}, err
	}
	if !p.take(")") {
		if p.pos < len(p.text) {
			return node{}, p.trailing()
		}
		return node{}, p.fail(open, "write a ) at its end", "this ( is never closed")
	}
	return n, nil
}

func not(kid node) node {
	if kid.op == opNot {
		return kid.kids[0]
	}
	return node{op: opNot, kids: []node{kid}}
}

// word reads a label's key or a keyword; it is empty when there is none.
func (p *parser) word() string {
	start := p.pos
	for p.pos < len(p.text) && isKey(p.text[p.pos]) {
		p.pos++
	}
	w := p.text[start:p.pos]
	p.blanks()
	return w
}

func isKey(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '/' || c == '-'
}

func (p *parser) atom() (node, error) {
	start := p.pos
	key := p.word()
	if key == "" {
		return node{}, p.missing(start)
	}
	if len(key) > maxKey {
		return node{}, p.fail(start, fmt.Sprintf("write at most %d", maxKey), "a label's key of %d characters", len(key))
	}
	if p.pos < len(p.text) && p.text[p.pos] == '(' {
		return p.function(start, key)
	}
	return p.test(start, key)
}

func (p *parser) function(start int, name string) (node, error) {
	p.take("(")
	n := node{op: opAll}
	switch name {
	case "all":
	case "global":
		n.op = opGlobal
	case "has":
		at := p.pos
		if n.op, n.key = opHas, p.word(); n.key == "" {
			return n, p.fail(at, "write has(key), the key without quotes", "has() without a label's key")
		}
		if len(n.key) > maxKey {
			return n, p.fail(at, fmt.Sprintf("write at most %d", maxKey), "a label's key of %d characters", len(n.key))
		}
	default:
		return n, p.fail(start, "write has(key), all() or global()", "no function is called %s", name)
	}
	if !p.take(")") {
		return n, p.fail(p.pos, "write a ) here", "%s( is never closed", name)
	}
	return n, nil
}

func (p *parser) test(start int, key string) (node, error) {
	n := node{key: key}
	at := p.pos
	switch {
	case p.take("=="):
		n.op = opEq
	case p.take("!="):
		n.op = opNe
	case strings.HasPrefix(p.text[p.pos:], "="):
		return n, p.fail(at, "write ==", "a single =")
	default:
		word := p.word()
		switch word {
		case "contains":
			n.op = opContains
		case "in":
			n.op = opIn
		case "startswith", "endswith", "notin":
			n.op = map[string]op{"startswith": opStartsWith, "endswith": opEndsWith, "notin": opNotIn}[word]
		case "starts", "ends", "not":
			second := map[string]string{"starts": "with", "ends": "with", "not": "in"}[word]
			if p.word() != second {
				return n, p.fail(at, "write \""+word+" "+second+"\"", "%s without %s", word, second)
			}
			n.op = map[string]op{"starts": opStartsWith, "ends": opEndsWith, "not": opNotIn}[word]
		case "":
			return n, p.fail(start, "write has("+key+") or "+key+" == 'value'", "the label %s without a test", key)
		default:
			return n, p.fail(at, "write ==, !=, in, not in, contains, starts with or ends with", "no operator is called %s", word)
		}
	}
	var err error
	if n.op == opIn || n.op == opNotIn {
		n.values, err = p.list()
	} else {
		n.value, err = p.quoted()
	}
	return n, err
}

func (p *parser) quoted() (string, error) {
	if p.pos == len(p.text) || p.text[p.pos] != '\'' && p.text[p.pos] != '"' {
		at := p.pos
		if w := p.word(); w != "" {
			return "", p.fail(at, "write '"+w+"'", "the value %s is not in quotes", w)
		}
		return "", p.fail(at, "write a value in quotes: 'value'", "no value")
	}
	rest := p.text[p.pos+1:]
	end := strings.IndexByte(rest, p.text[p.pos])
	if end < 0 {
		return "", p.fail(p.pos, "write a "+string(p.text[p.pos])+" at its end", "this quote is never closed")
	}
	p.pos += end + 2
	p.blanks()
	return rest[:end], nil
}

func (p *parser) list() ([]string, error) {
	open := p.pos
	if !p.take("{") {
		return nil, p.fail(p.pos, "write {'one', 'two'}", "no list of values")
	}
	values := make([]string, 0, 4)
	for !p.take("}") {
		if p.pos == len(p.text) {
			return nil, p.fail(open, "write a } at its end", "this { is never closed")
		}
		v, err := p.quoted()
		if err != nil {
			return nil, err
		}
		values = append(values, v)
		if !p.take(",") && p.pos < len(p.text) && p.text[p.pos] != '}' {
			return nil, p.fail(p.pos, "write a comma between values and a } at the end", "no comma")
		}
	}
	slices.Sort(values)
	return slices.Compact(values), nil
}

// missing is the error for a place where an expression should begin.
func (p *parser) missing(at int) *Error {
	if at == len(p.text) {
		return p.fail(at, "write a test such as key == 'value'", "the selector ends too early")
	}
	switch c := p.text[at]; c {
	case '\'', '"':
		return p.fail(at, "write the label's key without quotes: key == 'value'", "a value where a label's key should be")
	case '&', '|':
		return p.fail(at, "write a test on both sides", "%c without a test before it", c)
	}
	r := []rune(p.text[at:])[0]
	return p.fail(at, "write a test such as key == 'value'", "unexpected %q", r)
}

// trailing is the error for text after a whole expression.
func (p *parser) trailing() *Error {
	switch p.text[p.pos] {
	case ')':
		return p.fail(p.pos, "remove it, or write a ( before", "this ) closes nothing")
	case '&', '|':
		c := p.text[p.pos : p.pos+1]
		return p.fail(p.pos, "write "+c+c, "a single %s", c)
	case ',':
		return p.fail(p.pos, "write && or ||", "a comma between tests")
	}
	at := p.pos
	if w := strings.ToLower(p.word()); w == "and" || w == "or" {
		return p.fail(at, "write "+map[string]string{"and": "&&", "or": "||"}[w], "no operator is called %s", w)
	}
	return p.fail(at, "write && or || between tests", "unexpected text after a test")
}
