package strict

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`   // from 1; 0 when not known
	Column  int    `json:"column,omitempty"` // from 1; 0 when not known
	Field   string `json:"field,omitempty"`  // a Path, e.g. spec.ingress[0].action
	Message string `json:"message"`
	Instead string `json:"instead,omitempty"` // what to write instead
}

// String is "file:line:column: field: message; what to write instead", without
// the parts that are not known.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	if p.Instead != "" {
		b.WriteString("; " + p.Instead)
	}
	return b.String()
}

// Problems is a list of problems as an error.
type Problems []Problem

// Error is one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err is the list as an error, sorted by place; nil when it is empty.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return ps
}

// Path leads to a field: strings are keys, ints are places in a list.
type Path []any

// String is the path as people write it, e.g. spec.ingress[0].action.
func (p Path) String() string {
	var b strings.Builder
	for _, step := range p {
		switch s := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", s)
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s)
		}
	}
	return b.String()
}

// ParsePath undoes String for paths whose field names hold no dots or brackets.
func ParsePath(text string) Path {
	var p Path
	for part := range strings.SplitSeq(text, ".") {
		name, rest, _ := strings.Cut(part, "[")
		if name != "" {
			p = append(p, name)
		}
		for rest != "" {
			var place string
			place, rest, _ = strings.Cut(rest, "]")
			if n, err := strconv.Atoi(place); err == nil {
				p = append(p, n)
			}
			_, rest, _ = strings.Cut(rest, "[")
		}
	}
	return p
}

// Under returns a longer path; p itself is not changed.
func (p Path) Under(steps ...any) Path { return append(slices.Clip(p), steps...) }

// Nearest returns the word of the list that a misspelt word most likely meant,
// or "".
func Nearest(word string, list []string) string {
	best, distance := "", len(word)/3+2
	for _, w := range list {
		if strings.EqualFold(w, word) {
			return w
		}
		if d := edits(strings.ToLower(word), strings.ToLower(w)); d < distance {
			best, distance = w, d
		}
	}
	return best
}

// edits is the number of insertions, removals and replacements of bytes that
// turn a into b.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// DidYouMean suggests the nearest word of a list, or the whole list.
func DidYouMean(word string, list []string) string {
	if n := Nearest(word, list); n != "" {
		return "write " + n
	}
	return "write one of " + strings.Join(list, ", ")
}

// Issue is a problem of a field, not yet placed in a file.
type Issue struct {
	Path    Path
	Column  int // within the value, from 1; 0 for the value as a whole
	Message string
	Instead string
}

// ValueError is a wrong value with what to write instead. A type's
// UnmarshalJSON returns it, so that Decode can say both.
type ValueError struct{ Message, Instead string }

// Error is the message and what to write instead.
func (e *ValueError) Error() string { return e.Message + "; " + e.Instead }
