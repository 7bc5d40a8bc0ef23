package oracle

import (
	"regexp"
	"strings"
	"sync"
)

var token = regexp.MustCompile(`'[^']*'|"[^"]*"|==|!=|&&|\|\||[!(){},]|[a-zA-Z0-9_./-]+`)

// read holds the tokens of each selector: tests evaluate one thousands of times.
var read sync.Map

func tokens(text string) []string {
	if known, ok := read.Load(text); ok {
		return known.([]string)
	}
	list := token.FindAllString(text, -1)
	read.Store(text, list)
	return list
}

// matches evaluates a selector while reading it. It takes correct selectors
// only: what is wrong is refused long before.
func matches(text string, labels map[string]string, namespace string) bool {
	if strings.TrimSpace(text) == "" {
		return true
	}
	r := reader{tokens: tokens(text), get: func(key string) (string, bool) {
		if key == "projectcalico.org/namespace" {
			return namespace, namespace != ""
		}
		v, ok := labels[key]
		return v, ok
	}, all: true, global: true}
	return r.or()
}

// namespaceMatches evaluates a namespaceSelector: the label is the namespace's
// name, all() means any namespace and global() none.
func namespaceMatches(text, namespace string) bool {
	r := reader{tokens: tokens(text), get: func(string) (string, bool) {
		return namespace, namespace != ""
	}, all: namespace != "", global: namespace == ""}
	return r.or()
}

type reader struct {
	tokens      []string
	get         func(key string) (string, bool)
	all, global bool // what all() and global() are
}

func (r *reader) next() string {
	t := r.tokens[0]
	r.tokens = r.tokens[1:]
	return t
}

func (r *reader) is(t string) bool { return len(r.tokens) > 0 && r.tokens[0] == t }

func (r *reader) or() bool {
	result := r.and()
	for r.is("||") {
		r.next()
		right := r.and() // read it in any case
		result = result || right
	}
	return result
}

func (r *reader) and() bool {
	result := r.unary()
	for r.is("&&") {
		r.next()
		right := r.unary()
		result = result && right
	}
	return result
}

func (r *reader) unary() bool {
	switch word := r.next(); {
	case word == "!":
		return !r.unary()
	case word == "(":
		result := r.or()
		r.next()
		return result
	case r.is("("):
		r.next()
		key := r.next()
		if word == "all" {
			return r.all
		}
		if word == "global" {
			return r.global
		}
		r.next()
		_, has := r.get(key)
		return has
	default:
		return r.test(word)
	}
}

func (r *reader) test(key string) bool {
	value, has := r.get(key)
	switch r.next() {
	case "==":
		return r.string() == value && has
	case "!=":
		return r.string() != value || !has
	case "contains":
		return strings.Contains(value, r.string()) && has
	case "starts":
		r.next()
		return strings.HasPrefix(value, r.string()) && has
	case "ends":
		r.next()
		return strings.HasSuffix(value, r.string()) && has
	case "in":
		return r.list(value) && has
	}
	r.next() // not in
	return !r.list(value) || !has
}

func (r *reader) string() string {
	s := r.next()
	return s[1 : len(s)-1]
}

func (r *reader) list(value string) bool {
	found := false
	for r.next(); !r.is("}"); {
		if r.is(",") {
			r.next()
			continue
		}
		if r.string() == value {
			found = true
		}
	}
	r.next()
	return found
}
