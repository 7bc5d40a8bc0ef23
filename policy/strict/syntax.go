package strict

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// syntaxProblem is the library's error with advice on the line that it names.
func (c *chunk) syntaxProblem(err error) Problem {
	p := Problem{Line: 1, Message: err.Error()}
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) {
		p.Message = syntax.Message
		if t := syntax.Token; t != nil && t.Position != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	p.Message, _, _ = strings.Cut(p.Message, "\n")
	if at := already.FindStringSubmatchIndex(p.Message); at != nil {
		line, _ := strconv.Atoi(p.Message[at[2]:at[3]]) // it was digits
		p.Message = fmt.Sprintf("%s at line %d", p.Message[:at[0]], c.line+line)
		p.Instead = "remove one of them"
	} else if lines := bytes.Split(c.text, []byte{'\n'}); p.Line > 0 && p.Line <= len(lines) {
		p.Instead = advice(string(lines[p.Line-1]))
	}
	return p
}

var (
	already   = regexp.MustCompile(` at \[([0-9]+):[0-9]+\]$`)
	tabIndent = regexp.MustCompile(`^ *\t`)
	bang      = regexp.MustCompile(`[:\[,-]\s+!`)
	halfQuote = regexp.MustCompile(`[:\[,-]\s+('[^']*'|"[^"]*")\s*[^\s#,}\]:]`)
)

// advice is what people most often did to a line that is no YAML: selectors are
// full of characters that mean something to it.
func advice(line string) string {
	switch {
	case strings.Contains(line, "{{"):
		return "fill in the template first"
	case tabIndent.MatchString(line):
		return "indent with blanks instead of tabs"
	case bang.MatchString(line):
		return "put a value that begins with ! in quotes"
	case halfQuote.MatchString(line):
		return "put the whole value in quotes of the other kind"
	case strings.ContainsAny(line, "{}[]"):
		return "close each { and [, and put a value that holds one of {}[], in quotes"
	}
	return "check how far the line is indented, and put a value that holds : or # in quotes"
}
