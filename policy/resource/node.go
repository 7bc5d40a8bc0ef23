package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds on a file: it may be hostile.
const (
	maxFile  = 16 << 20 // bytes
	maxDepth = 48       // maps and lists inside each other
)

// node is a YAML value with its place in the file.
type node struct {
	line, column int
	// quoted is how many bytes of the text come before the value's first: 1 for
	// a quoted scalar. It is -1 when the value spans lines.
	quoted int
	keys   []key   // of a map, in the file's order
	list   []*node // of a list
	isMap  bool
	isList bool
	scalar any // string, int64, uint64, float64, bool or nil
}

type key struct {
	name         string
	line, column int
	value        *node
}

func (n *node) get(name string) *node {
	for i := range n.keys {
		if n.keys[i].name == name {
			return n.keys[i].value
		}
	}
	return nil
}

func (n *node) str(name string) string {
	if v := n.get(name); v != nil {
		s, _ := v.scalar.(string)
		return s
	}
	return ""
}

// find follows a path as far as it goes; whole is false if it ends early.
func (n *node) find(p path) (found *node, whole bool) {
	for _, step := range p {
		var next *node
		switch s := step.(type) {
		case string:
			next = n.get(s)
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

// plain is the value as encoding/json takes it.
func (n *node) plain() any {
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

// parseFile reads the documents of a YAML or JSON file. Problems lack the
// file's name.
func parseFile(text []byte) (docs []*node, problems Problems) {
	if len(text) > maxFile {
		return nil, Problems{{Message: fmt.Sprintf("the file has %d bytes", len(text)), Instead: "split it: at most 16 MiB are read"}}
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
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, Problems{syntaxProblem(err)}
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		b := builder{}
		n := b.build(doc.Body, 0)
		problems = append(problems, b.problems...)
		if n != nil && (n.isMap || n.isList || n.scalar != nil) {
			docs = append(docs, n)
		}
	}
	return docs, problems
}

func syntaxProblem(err error) Problem {
	p := Problem{Message: err.Error()}
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) {
		p.Message = syntax.Message
		if t := syntax.Token; t != nil && t.Position != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	p.Message, _, _ = strings.Cut(p.Message, "\n")
	return p
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

func (b *builder) fail(t *token.Token, message, instead string) *node {
	p := Problem{Message: message, Instead: instead}
	if t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	b.problems = append(b.problems, p)
	return &node{line: p.Line, column: p.Column}
}

func at(t *token.Token) *node {
	n := &node{}
	if t != nil && t.Position != nil {
		n.line, n.column = t.Position.Line, t.Position.Column
	}
	return n
}

func (b *builder) build(a ast.Node, depth int) *node {
	if a == nil {
		return &node{}
	}
	t := a.GetToken()
	if depth > maxDepth {
		return b.fail(t, "lists and maps are nested too deeply", fmt.Sprintf("nest at most %d", maxDepth))
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
			n.list = append(n.list, b.build(item, depth+1))
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
		return b.fail(t, "tags and directives are not read", "remove it")
	}
	return b.fail(t, fmt.Sprintf("this YAML (%s) is not read", a.Type()), "write maps, lists and plain values")
}

func (b *builder) pair(n *node, kv *ast.MappingValueNode, depth int) {
	t := kv.Key.GetToken()
	k := key{}
	if t != nil && t.Position != nil {
		k.line, k.column = t.Position.Line, t.Position.Column
	}
	switch name := kv.Key.(type) {
	case *ast.StringNode:
		k.name = name.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		k.name = t.Value // e.g. a label that is called on or 1
	default:
		b.fail(t, "a key that is no plain text", "write key: value")
		return
	}
	if n.get(k.name) != nil {
		b.fail(t, fmt.Sprintf("%s is given twice", k.name), "remove one of them")
		return
	}
	k.value = b.build(kv.Value, depth+1)
	n.keys = append(n.keys, k)
}

// encode writes the value as JSON with sorted keys.
func (n *node) encode() ([]byte, error) { return json.Marshal(n.plain()) }

// colonText puts plain text such as 8000:8080 together again: inside of a flow
// list in a flow map, goccy/go-yaml v1.19.2 takes it for a map, though YAML
// wants a blank after the colon for that.
func colonText(a ast.Node) (string, bool) {
	if m, ok := a.(*ast.MappingNode); ok && len(m.Values) == 1 && !m.IsFlowStyle {
		a = m.Values[0]
	}
	kv, ok := a.(*ast.MappingValueNode)
	if !ok || kv.Start == nil || kv.Value == nil {
		return "", false
	}
	key, value := kv.Key.GetToken(), kv.Value.GetToken()
	if key == nil || value == nil || quotes(key) || quotes(value) {
		return "", false
	}
	colon := kv.Start.Position
	if rest, ok := colonText(kv.Value); ok {
		return key.Value + ":" + rest, true
	}
	_, scalar := kv.Value.(ast.ScalarNode)
	adjacent := value.Position.Line == colon.Line && value.Position.Column == colon.Column+1
	return key.Value + ":" + value.Value, scalar && adjacent
}

func quotes(t *token.Token) bool {
	return t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType
}
