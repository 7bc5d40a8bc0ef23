package strict

import (
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

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
	if !bare(key) || strings.HasSuffix(key.Origin, " ") {
		return "", false
	}
	if rest, ok := colonText(kv.Value); ok {
		return key.Value + ":" + rest, true
	}
	if !bare(value) || strings.Contains(key.Origin+value.Origin, "\t") || strings.Contains(value.Value, ": ") {
		return "", false
	}
	return key.Value + ":" + value.Value, adjacent(kv)
}

// adjacent reports whether a value follows its colon without a blank, as only
// one in brackets or after a key in quotes may. It happens in flow maps:
// elsewhere such a line is a text.
func adjacent(kv *ast.MappingValueNode) bool {
	switch v := kv.Value.(type) {
	case *ast.NullNode: // its place is the colon's where there is none
		return false
	case *ast.SequenceNode:
		if v.IsFlowStyle {
			return false
		}
	case *ast.MappingNode:
		if v.IsFlowStyle {
			return false
		}
	}
	if kv.Start == nil || kv.Value.GetToken() == nil {
		return false
	}
	colon, value := kv.Start.Position, kv.Value.GetToken()
	tab := strings.HasPrefix(value.Origin, "\t") // it does not count as a column
	return !tab && value.Position.Line == colon.Line && value.Position.Column == colon.Column+1
}

// bare reports whether the token is a single value without quotes.
func bare(t *token.Token) bool {
	if t == nil {
		return false
	}
	switch t.Type {
	case token.StringType, token.IntegerType, token.FloatType, token.BoolType, token.NullType,
		token.OctetIntegerType, token.HexIntegerType, token.BinaryIntegerType:
		return true
	}
	return false
}

var octal = regexp.MustCompile(`^[-+]?0[0-9_]+$`)

// misread tells of what stands in the file as it is, without quotes, and is
// not what goccy/go-yaml v1.19.2 makes of it: it drops tabs, so that 80<tab>80
// would be the port 8080, and takes a comment after a text that spans lines, and
// what is indented too far after one, for parts of the text.
func misread(t *token.Token) (message, instead string) {
	if !bare(t) {
		return "", ""
	}
	text := strings.TrimSpace(t.Origin)
	switch {
	case strings.Contains(text, "\t"):
		return "a tab inside of a value", "write a blank, or the value in quotes"
	case strings.Contains(text, " #") || strings.Contains(text, "\n#"):
		return "a comment inside of a value", "write the comment on a line before it, or the value in quotes"
	case strings.Contains(text, ": ") || strings.Contains(text, ":\n") || strings.HasSuffix(text, ":"):
		return "a colon inside of a value", "check where the lines before it begin, or write the value in quotes"
	case octal.MatchString(text):
		return text + " is another number to some readers of YAML", "write it without the 0 before it, or in quotes"
	}
	return "", ""
}
