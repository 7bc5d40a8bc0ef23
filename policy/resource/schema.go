package resource

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// refused are fields of Calico's schema that mean nothing here, by Go type.
// They get a clear message instead of "unknown field".
var refused = map[string]map[string]string{
	"Metadata": {
		"resourceVersion":   "the API server that this came from wrote it; remove it",
		"uid":               "the API server that this came from wrote it; remove it",
		"creationTimestamp": "the API server that this came from wrote it; remove it",
		"generation":        "the API server that this came from wrote it; remove it",
		"managedFields":     "the API server that this came from wrote it; remove it",
		"selfLink":          "the API server that this came from wrote it; remove it",
		"ownerReferences":   "there are no owners here; remove it",
		"finalizers":        "there are no finalizers here; remove it",
	},
	"PolicySpec": {
		"serviceAccountSelector": "Mesos tasks have no service accounts; select by labels such as taskwall/app or taskwall/role",
		"applyOnForward":         "it is for host endpoints, which there are none of; remove it",
		"preDNAT":                "it is for host endpoints, which there are none of; remove it",
		"doNotTrack":             "it is for host endpoints, which there are none of; remove it",
		"performanceHints":       "they tune Calico's own agent; remove it",
	},
	"Rule": {
		"http": "requests are not looked into, only packets; allow by protocol and port, or let a proxy decide",
	},
	"Entity": {
		"serviceAccounts": "Mesos tasks have no service accounts; select by labels such as taskwall/app or taskwall/role",
		"services":        "there are no Kubernetes services; select the endpoints by label",
		"domains":         "names are not resolved; write nets, or a GlobalNetworkSet and its selector",
	},
	"SetSpec": {
		"allowedEgressDomains": "names are not resolved; write nets",
	},
	"PoolSpec": {
		"namespaceSelector": "write the annotation " + PoolSelector + " with a selector instead",
		"ipip":              "there is no overlay; remove it",
		"nat-outgoing":      "addresses are not translated; remove it",
	},
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// schema checks a document against a Go type: its fields' names and the kinds
// of its values.
type schema struct{ problems Problems }

func (s *schema) add(line, column int, p path, message, instead string) {
	s.problems = append(s.problems, Problem{Line: line, Column: column, Field: p.String(), Message: message, Instead: instead})
}

func (s *schema) check(n *node, t reflect.Type, p path) {
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
			s.check(item, t.Elem(), p.under(i))
		}
	case reflect.Map:
		if !n.isMap {
			s.add(n.line, n.column, p, "not a map", "write key: value")
			return
		}
		for _, k := range n.keys {
			if t.Elem().Kind() != reflect.Interface {
				s.check(k.value, t.Elem(), p.under(k.name))
			}
		}
	default:
		s.value(n, t, p)
	}
}

func (s *schema) fields(n *node, t reflect.Type, p path) {
	known := map[string]reflect.Type{}
	var names []string
	collect(t, known, &names)
	for _, k := range n.keys {
		if ft, ok := known[k.name]; ok {
			s.check(k.value, ft, p.under(k.name))
			continue
		}
		if why, ok := refused[t.Name()][k.name]; ok {
			why, instead, _ := strings.Cut(why, "; ")
			s.add(k.line, k.column, p.under(k.name), "this does not apply here: "+why, instead)
			continue
		}
		if k.name == "status" && len(p) == 0 {
			s.add(k.line, k.column, p.under(k.name), "this does not apply here: the API server that this came from wrote it", "remove it")
			continue
		}
		s.add(k.line, k.column, p.under(k.name), "unknown field", didYouMean(k.name, names))
	}
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

func (s *schema) custom(n *node, t reflect.Type, p path) {
	text, err := n.encode()
	if err == nil && (n.isMap || n.isList) {
		err = &valueError{"not a single value", "write a name or a number"}
	}
	if err == nil {
		err = reflect.New(t).Interface().(json.Unmarshaler).UnmarshalJSON(text)
	}
	var wrong *valueError
	switch {
	case errors.As(err, &wrong):
		s.add(n.line, n.column, p, wrong.message, wrong.instead)
	case err != nil:
		s.add(n.line, n.column, p, err.Error(), "")
	}
}

func (s *schema) value(n *node, t reflect.Type, p path) {
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
