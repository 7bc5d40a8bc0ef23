package strict

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds on a file: it may be hostile.
const (
	maxFile  = 16 << 20 // bytes
	maxDepth = 48       // maps and lists inside each other
)

// Node is a YAML value with its place in the file.
type Node struct {
	line, column int
	// quoted is how many bytes of the text come before the value's first: 1 for
	// a quoted scalar. It is -1 when the value spans lines.
	quoted int
	keys   []key   // of a map, in the file's order
	list   []*Node // of a list
	isMap  bool
	isList bool
	scalar any // string, int64, uint64, float64, bool or nil
}

type key struct {
	name         string
	line, column int
	value        *Node
}

// Get is the value of a map's field, nil when there is none.
func (n *Node) Get(name string) *Node {
	for i := range n.keys {
		if n.keys[i].name == name {
			return n.keys[i].value
		}
	}
	return nil
}

// Text is the text of a map's field, "" when there is no such text.
func (n *Node) Text(name string) string {
	if v := n.Get(name); v != nil {
		s, _ := v.scalar.(string)
		return s
	}
	return ""
}

// find follows a path as far as it goes; whole is false if it ends early.
func (n *Node) find(p Path) (found *Node, whole bool) {
	for _, step := range p {
		var next *Node
		switch s := step.(type) {
		case string:
			next = n.Get(s)
		case int:
			if s < len(n.list) {
				next = n.list[s]
			}
		}
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, true
}

// List are a list's entries.
func (n *Node) List() []*Node { return n.list }

// IsMap reports whether the value is a map.
func (n *Node) IsMap() bool { return n.isMap }

// Position is the line and column of a field, from 1, or of the nearest thing
// around it that was written.
func (n *Node) Position(p Path) (line, column int) {
	found, _ := n.find(p)
	return found.line, found.column
}

// Place turns issues into problems at the fields' positions.
func (n *Node) Place(issues []Issue) Problems {
	var problems Problems
	for _, i := range issues {
		found, whole := n.find(i.Path)
		p := Problem{Line: found.line, Column: found.column, Field: i.Path.String(), Message: i.Message, Instead: i.Instead}
		switch {
		case i.Column == 0 || !whole:
		case found.quoted >= 0:
			p.Column += found.quoted + i.Column - 1
		default: // the value spans lines: say where in it instead
			p.Message = fmt.Sprintf("at its character %d: %s", i.Column, p.Message)
		}
		problems = append(problems, p)
	}
	return problems
}

// plain is the value as encoding/json takes it.
func (n *Node) plain() any {
	switch {
	case n.isMap:
		m := make(map[string]any, len(n.keys))
		for _, k := range n.keys {
			m[k.name] = k.value.plain()
		}
		return m
	case n.isList:
		l := make([]any, len(n.list))
		for i, v := range n.list {
			l[i] = v.plain()
		}
		return l
	}
	return n.scalar
}

// Parse reads the documents of a YAML or JSON file; empty ones are left out, and
// so are those with problems. Problems lack the file's name.
func Parse(text []byte) (docs []*Node, problems Problems) {
	if len(text) > maxFile {
		return nil, Problems{{Message: fmt.Sprintf("the file has %d bytes", len(text)), Instead: "split it: at most 16 MiB are read"}}
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	if wrong := noText(text); wrong != nil {
		return nil, Problems{*wrong}
	}
	if line := tooDeep(text); line > 0 {
		return nil, Problems{{Line: line, Message: "lists and maps are nested too deeply", Instead: fmt.Sprintf("nest at most %d", maxDepth)}}
	}
	defer func() { // the YAML library has panicked on malformed input in the past
		if r := recover(); r != nil {
			docs, problems = nil, Problems{{Message: fmt.Sprintf("the file is no YAML that can be read (%v)", r)}}
		}
	}()
	// JSON may be indented by tabs, which YAML forbids; nowhere else can JSON hold one.
	if t := bytes.TrimLeft(text, " \t\r\n"); len(t) > 0 && (t[0] == '{' || t[0] == '[') {
		text = bytes.ReplaceAll(text, []byte{'\t'}, []byte{' '})
	}
	for _, c := range split(text) {
		doc, wrong := c.parse()
		for i := range wrong {
			wrong[i].Line += c.line
		}
		problems = append(problems, wrong...)
		if doc != nil && len(wrong) == 0 {
			doc.shift(c.line)
			docs = append(docs, doc)
		}
	}
	return docs, problems
}

// chunk is the text of one document, and how many lines come before it.
type chunk struct {
	text []byte
	line int
}

// split cuts a file at the lines that begin with "---", which YAML allows
// nowhere else. The library could do it, but goccy/go-yaml v1.19.2 loses
// documents after empty ones; and so one that is wrong does not hide others.
func split(text []byte) []chunk {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	chunks := []chunk{{}}
	line := 0
	for l := range bytes.Lines(text) {
		if rest, marks := bytes.CutPrefix(l, []byte("---")); marks && len(bytes.TrimLeft(rest, " \t\n")) < max(1, len(rest)) {
			l = append([]byte("   "), rest...) // columns stay
			chunks = append(chunks, chunk{line: line})
		}
		last := &chunks[len(chunks)-1]
		last.text = append(last.text, l...)
		line++
	}
	return chunks
}

// blank reports whether there is nothing but comments.
func (c *chunk) blank() bool {
	for l := range bytes.Lines(c.text) {
		if l = bytes.TrimSpace(l); len(l) > 0 && l[0] != '#' && !bytes.Equal(l, []byte("...")) {
			return false
		}
	}
	return true
}

func (c *chunk) parse() (*Node, Problems) {
	if c.blank() {
		return nil, nil
	}
	// goccy/go-yaml v1.19.2 loses a tag at the end of a text without a newline.
	file, err := parser.ParseBytes(append(c.text, '\n'), 0)
	if err != nil {
		return nil, Problems{c.syntaxProblem(err)}
	}
	var body ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case body != nil:
			return nil, Problems{{Line: 1, Message: "two documents without a line --- between them", Instead: "write one"}}
		default:
			body = doc.Body
		}
	}
	if body == nil {
		return nil, Problems{{Line: 1, Message: "the document cannot be read", Instead: "write a map of fields"}}
	}
	b := builder{}
	n := b.build(body, 0)
	return n, b.problems
}

// shift moves the value down by so many lines.
func (n *Node) shift(lines int) {
	n.line += lines
	for i := range n.keys {
		n.keys[i].line += lines
		n.keys[i].value.shift(lines)
	}
	for _, v := range n.list {
		v.shift(lines)
	}
}

// noText finds the first line with bytes that no text holds, or with characters
// by which it shows other than it is read: a policy is what its reviewers saw.
func noText(text []byte) *Problem {
	line := 0
	for l := range bytes.Lines(text) {
		line++
		if !utf8.Valid(l) {
			return &Problem{Line: line, Message: "the line is no UTF-8 text", Instead: "save the file as UTF-8"}
		}
		if at := bytes.IndexFunc(l, hidden); at >= 0 {
			r, _ := utf8.DecodeRune(l[at:])
			return &Problem{Line: line, Column: 1 + utf8.RuneCount(l[:at]),
				Message: fmt.Sprintf("the character %U cannot be seen", r), Instead: "remove it"}
		}
	}
	return nil
}

// hidden reports whether a character is a control character, breaks lines for
// some readers only, or changes the order in which others are shown (as in
// CVE-2021-42574).
func hidden(r rune) bool {
	switch r {
	case '\t', '\n', '\r':
		return false
	case '\u2028', '\u2029', '\ufeff':
		return true
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}

// tooDeep looks for nesting that could exhaust the parser's stack before it
// can be measured, and returns the line that has it, or 0. It counts brackets
// also inside of strings, hence its wide bounds.
func tooDeep(text []byte) int {
	const bound = 1000
	line, depth := 1, 0
	for rest := text; len(rest) > 0; line++ {
		var l []byte
		l, rest, _ = bytes.Cut(rest, []byte{'\n'})
		marks := 0
		for i, c := range l {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(0, depth-1)
			case '-', '?', ':':
				if i+1 < len(l) && (l[i+1] == ' ' || l[i+1] == '\t') {
					marks++
				}
			}
			if depth > bound || marks > bound {
				return line
			}
		}
	}
	return 0
}

// builder turns the library's tree into ours.
type builder struct{ problems Problems }

func (b *builder) fail(t *token.Token, message, instead string) *Node {
	p := Problem{Message: message, Instead: instead}
	if t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	b.problems = append(b.problems, p)
	return &Node{line: p.Line, column: p.Column}
}

func at(t *token.Token) *Node {
	n := &Node{}
	if t != nil && t.Position != nil {
		n.line, n.column = t.Position.Line, t.Position.Column
	}
	return n
}

func (b *builder) build(a ast.Node, depth int) *Node {
	if a == nil {
		return &Node{}
	}
	t := a.GetToken()
	if depth > maxDepth {
		return b.fail(t, "lists and maps are nested too deeply", fmt.Sprintf("nest at most %d", maxDepth))
	}
	if message, instead := misread(t); message != "" {
		return b.fail(t, message, instead)
	}
	switch v := a.(type) {
	case *ast.MappingNode:
		n := at(t)
		n.isMap = true
		for i, kv := range v.Values {
			b.pair(n, kv, depth)
			if i == 0 && len(n.keys) > 0 && !v.IsFlowStyle {
				n.line, n.column = n.keys[0].line, n.keys[0].column
			}
		}
		return n
	case *ast.MappingValueNode:
		n := at(v.Key.GetToken())
		n.isMap = true
		b.pair(n, v, depth)
		return n
	case *ast.SequenceNode:
		n := at(t)
		n.isList = true
		for _, item := range v.Values {
			if text, ok := colonText(item); v.IsFlowStyle && ok {
				one := at(item.GetToken())
				one.scalar = text
				n.list = append(n.list, one)
				continue
			}
			one := b.build(item, depth+1)
			if one.isMap && !v.IsFlowStyle && one.column <= n.column { // goccy/go-yaml v1.19.2 takes it for an entry
				b.fail(item.GetToken(), "it is indented like the - before it", "indent it further, or remove the -")
			}
			n.list = append(n.list, one)
		}
		return n
	case *ast.StringNode:
		n := at(t)
		n.scalar = v.Value
		switch {
		case strings.Contains(t.Origin, "\n") && strings.Contains(strings.TrimSpace(t.Origin), "\n"):
			n.quoted = -1
		case t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType:
			n.quoted = 1
		}
		return n
	case *ast.LiteralNode:
		n := at(v.Start)
		n.scalar, n.quoted = strings.TrimRight(v.Value.Value, "\n"), -1
		return n
	case *ast.IntegerNode:
		n := at(t)
		n.scalar = v.Value
		return n
	case *ast.FloatNode:
		n := at(t)
		n.scalar = v.Value
		return n
	case *ast.BoolNode:
		n := at(t)
		n.scalar = v.Value
		return n
	case *ast.NullNode:
		return at(t)
	case *ast.CommentNode, *ast.CommentGroupNode:
		return at(t)
	case *ast.InfinityNode, *ast.NanNode:
		return b.fail(t, "not a number that can be used", "write a finite number")
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return b.fail(t, "anchors, aliases and merge keys are not read", "write the value in full")
	case *ast.TagNode, *ast.DirectiveNode:
		return b.fail(t, "tags and directives are not read", "remove it, or put a value that begins with ! in quotes")
	}
	return b.fail(t, fmt.Sprintf("this YAML (%s) is not read", a.Type()), "write maps, lists and plain values")
}

func (b *builder) pair(n *Node, kv *ast.MappingValueNode, depth int) {
	t := kv.Key.GetToken()
	k := key{}
	if t != nil && t.Position != nil {
		k.line, k.column = t.Position.Line, t.Position.Column
	}
	if message, instead := misread(t); message != "" {
		b.fail(t, message, instead)
		return
	}
	if bare(t) && adjacent(kv) {
		b.fail(t, "no blank after the colon", "write "+t.Value+": and the value")
		return
	}
	switch name := kv.Key.(type) {
	case *ast.StringNode:
		k.name = name.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		k.name = t.Value // e.g. a label that is called on or 1
	case *ast.MergeKeyNode:
		b.build(name, depth)
		return
	default:
		b.fail(t, "a key that is no plain text", "write key: value")
		return
	}
	if n.Get(k.name) != nil {
		b.fail(t, fmt.Sprintf("%s is given twice", k.name), "remove one of them")
		return
	}
	k.value = b.build(kv.Value, depth+1)
	n.keys = append(n.keys, k)
}

// encode writes the value as JSON with sorted keys.
func (n *Node) encode() ([]byte, error) { return json.Marshal(n.plain()) }
