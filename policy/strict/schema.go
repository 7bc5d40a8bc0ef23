package strict

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Refusals are fields that are known but have no meaning here, by the name of
// the Go type that lacks them, with "why; what to do instead". One with
// ReadOver as its reason is left out without a word, and so is one whose value
// asks for nothing: false, an empty text or an empty list. One with no reason,
// only "what to do instead", is what a field of ours is called elsewhere.
type Refusals map[string]map[string]string

// ReadOver is the reason of fields that nobody means, whatever their value.
const ReadOver = ""

// Decode reads a value into a pointer to a Go type by its json tags. It refuses
// unknown fields and values of the wrong kind, with their positions; on a
// problem the target is in no defined state.
func (n *Node) Decode(into any, refused Refusals) Problems {
	s := schema{refused: refused}
	s.check(n, reflect.TypeOf(into).Elem(), nil)
	if len(s.problems) > 0 {
		return s.problems
	}
	text, err := n.encode()
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return Problems{{Line: n.line, Column: n.column, Message: err.Error()}}
	}
	return nil
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// schema checks a document against a Go type: its fields' names and the kinds
// of its values.
type schema struct {
	refused  Refusals
	problems Problems
}

func (s *schema) add(line, column int, p Path, message, instead string) {
	s.problems = append(s.problems, Problem{Line: line, Column: column, Field: p.String(), Message: message, Instead: instead})
}

func (s *schema) check(n *Node, t reflect.Type, p Path) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.scalar == nil && !n.isMap && !n.isList {
		if len(p) > 0 {
			s.add(n.line, n.column, p, "no value", "write one, or remove the field")
		}
		return
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		s.custom(n, t, p)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		if !n.isMap {
			s.add(n.line, n.column, p, "not a map of fields", "write field: value")
			return
		}
		s.fields(n, t, p)
	case reflect.Slice:
		if !n.isList {
			s.add(n.line, n.column, p, "not a list", "write each entry on a line of its own, after \"- \"")
			return
		}
		for i, item := range n.list {
			s.check(item, t.Elem(), p.Under(i))
		}
	case reflect.Map:
		if !n.isMap {
			s.add(n.line, n.column, p, "not a map", "write key: value")
			return
		}
		for _, k := range n.keys {
			if t.Elem().Kind() != reflect.Interface {
				s.check(k.value, t.Elem(), p.Under(k.name))
			}
		}
	default:
		s.value(n, t, p)
	}
}

func (s *schema) fields(n *Node, t reflect.Type, p Path) {
	known := map[string]reflect.Type{}
	var names []string
	collect(t, known, &names)
	for _, k := range n.keys {
		if ft, ok := known[k.name]; ok {
			s.check(k.value, ft, p.Under(k.name))
			continue
		}
		if why, ok := s.refused[t.Name()][k.name]; ok {
			reason, instead, known := strings.Cut(why, "; ")
			switch {
			case !known && why != ReadOver:
				s.add(k.line, k.column, p.Under(k.name), "unknown field", why)
			case why != ReadOver && !k.value.asksNothing():
				s.add(k.line, k.column, p.Under(k.name), "this does not apply here: "+reason, instead)
			}
			continue
		}
		s.add(k.line, k.column, p.Under(k.name), "unknown field", DidYouMean(k.name, names))
	}
}

// asksNothing reports whether the value is what tools write for a field that
// is not used. An empty map is not: of a field such as http it matches all.
func (n *Node) asksNothing() bool {
	return n.scalar == false || n.scalar == "" || n.isList && len(n.list) == 0
}

// collect lists a struct's fields by their JSON names, embedded ones included.
func collect(t reflect.Type, known map[string]reflect.Type, names *[]string) {
	for f := range t.Fields() {
		if f.Anonymous {
			collect(f.Type, known, names)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		known[name] = f.Type
		*names = append(*names, name)
	}
}

func (s *schema) custom(n *Node, t reflect.Type, p Path) {
	text, err := n.encode()
	if err == nil && (n.isMap || n.isList) {
		err = &ValueError{"not a single value", "write a name or a number"}
	}
	if err == nil {
		err = reflect.New(t).Interface().(json.Unmarshaler).UnmarshalJSON(text)
	}
	var wrong *ValueError
	switch {
	case errors.As(err, &wrong):
		s.add(n.line, n.column, p, wrong.Message, wrong.Instead)
	case err != nil:
		s.add(n.line, n.column, p, err.Error(), "")
	}
}

func (s *schema) value(n *Node, t reflect.Type, p Path) {
	ok, want := false, ""
	switch t.Kind() {
	case reflect.String:
		_, ok = n.scalar.(string)
		want = "text"
		if !ok && !n.isMap && !n.isList {
			s.add(n.line, n.column, p, fmt.Sprintf("%v is not text", n.scalar), fmt.Sprintf("write it in quotes: %q", fmt.Sprint(n.scalar)))
			return
		}
	case reflect.Bool:
		_, ok = n.scalar.(bool)
		want = "true or false"
	case reflect.Int:
		switch v := n.scalar.(type) {
		case int64:
			ok = v >= -1<<31 && v < 1<<31
		case uint64:
			ok = v < 1<<31
		}
		want = "a whole number"
	case reflect.Float64:
		switch n.scalar.(type) {
		case int64, uint64, float64:
			ok = true
		}
		want = "a number"
	}
	if !ok {
		s.add(n.line, n.column, p, "not "+want, "write "+want)
	}
}
