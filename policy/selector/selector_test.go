package selector_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/policy/selector"
)

func parse(t testing.TB, text string) *selector.Selector {
	t.Helper()
	s, err := selector.Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return s
}

func TestMatches(t *testing.T) {
	labels := selector.Map{
		"app": "web", "env": "prod", "empty": "", "taskwall/app": "/shop/web", "a.b-c_d/E": "x y", "q": `it's`, "in": "here", "not": "there",
	}
	for text, want := range map[string]bool{
		"":                                   true,
		"  \n":                               true,
		"all()":                              true,
		"global()":                           true,
		"all( )":                             true,
		"!all()":                             false,
		"app == 'web'":                       true,
		`app=="web"`:                         true,
		"app == 'Web'":                       false,
		"app != 'web'":                       false,
		"absent == ''":                       false,
		"absent != 'x'":                      true,
		"empty == ''":                        true,
		"has(empty)":                         true,
		"has( app )":                         true,
		"!has(absent)":                       true,
		"!!has(app)":                         true,
		"app in {'db', 'web'}":               true,
		"app in {'db',}":                     false,
		"app in {}":                          false,
		"app not in {}":                      true,
		"app not in {'db', 'web'}":           false,
		"app notin{'db'}":                    true,
		"absent in {'x'}":                    false,
		"absent not in {'x'}":                true,
		"app contains 'e'":                   true,
		"absent contains ''":                 false,
		"app starts with 'w'":                true,
		"app starts  with 'e'":               false,
		"app ends with 'eb'":                 true,
		"app ends with 'w'":                  false,
		"taskwall/app starts with '/shop/'":  true,
		"a.b-c_d/E == 'x y'":                 true,
		`q == "it's"`:                        true,
		"in == 'here'":                       true,
		"in in {'here'}":                     true,
		"not not in {'here'}":                true,
		"has == 'x'":                         false,
		"app == 'web' && env == 'dev'":       false,
		"app == 'web' || env == 'dev'":       true,
		"app == 'x' && has(x) || has(env)":   true,
		"has(env) || app == 'x' && has(x)":   true,
		"(has(env) || app == 'x') && has(x)": false,
		"!(has(env) && has(x))":              true,
		"!app == 'db'":                       true,
		"! (app == 'web') || env == 'prod'":  true,
		"app == 'web' &&\n env == 'prod'":    true,
		// && binds tighter than ||, ! tighter than both.
		"has(x) && !has(app) || has(env)":   true,
		"has(x) && (!has(app) || has(env))": false,
		"!has(x) && has(app) || has(y)":     true,
		"!has(x) || has(y) && has(z)":       true,
		"!(has(x) || has(app)) && has(env)": false,
		"!!!has(x)":                         true,
		// Blanks of every kind, and none at all.
		"\tapp\t==\r\n'web'\t":              true,
		"has (app)":                         true,
		"app in{'web'}&&app starts with'w'": true,
		"app in { 'db' , 'web' }":           true,
		// Whatever stands in quotes is a value, byte by byte: there are no escapes.
		`app == 'w\eb'`:             false,
		`app != "&& || ! () {} '"`:  true,
		"app == 'wéb'":              false,
		"app != 'wéb'":              true,
		"empty in {''}":             true,
		"empty starts with ''":      true,
		"absent starts with ''":     false,
		"!(absent starts with '')":  true,
		"app not in {'web','web'}":  false,
		"a.b-c_d/E in {'x y', 'z'}": true,
	} {
		if got := parse(t, text).Matches(labels); got != want {
			t.Errorf("%q matches: %v, want %v", text, got, want)
		}
	}
}

func TestCanonicalForm(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "all()",
		`a=="x"&&(b=='y'&&(has(c)))`: "a == 'x' && b == 'y' && has(c)",
		"a in {'z',\"y\", 'z'}":      "a in {'y', 'z'}",
		"(a == 'x' || b != 'y') && !c contains 'z'": "(a == 'x' || b != 'y') && !(c contains 'z')",
		"((a == 'x' && b == 'y')) || has(c)":        "a == 'x' && b == 'y' || has(c)",
		"!(!(has(a)))":                              "has(a)",
		"!(a == 'x' || has(b))":                     "!(a == 'x' || has(b))",
		`a == "it's"`:                               `a == "it's"`,
		"a starts with 'x'":                         "a starts with 'x'",
		"a not in {}":                               "a not in {}",
		"!global()":                                 "!global()",
	} {
		s := parse(t, text)
		if got := s.String(); got != want {
			t.Errorf("%q: canonical %q, want %q", text, got, want)
		}
		if again := parse(t, s.String()); again.String() != s.String() {
			t.Errorf("%q: the canonical form has another one", text)
		}
	}
	if selector.Hash("a == 'x'") == selector.Hash("a == 'y'") {
		t.Error("different selectors share a name")
	}
	if name := selector.Hash("a == 'x'"); len(name) != 16 {
		t.Errorf("name %q", name)
	}
}

func TestErrorsSayWhereAndWhatInstead(t *testing.T) {
	for text, want := range map[string]string{
		"a = 'x'":               "column 3: a single =; write ==",
		"a == x":                "column 6: the value x is not in quotes; write 'x'",
		"a == ":                 "column 6: no value; write a value in quotes: 'value'",
		"a == 'x":               "column 6: this quote is never closed; write a ' at its end",
		"(a == 'x'":             "column 1: this ( is never closed; write a ) at its end",
		"a == 'x')":             "column 9: this ) closes nothing; remove it, or write a ( before",
		"a == 'x' & b == 'y'":   "column 10: a single &; write &&",
		"a == 'x' and b == 'y'": "column 10: no operator is called and; write &&",
		"a == 'x' b == 'y'":     "column 10: unexpected text after a test; write && or || between tests",
		"a == 'x', b == 'y'":    "column 9: a comma between tests; write && or ||",
		"'a' == 'x'":            "column 1: a value where a label's key should be; write the label's key without quotes: key == 'value'",
		"a":                     "column 1: the label a without a test; write has(a) or a == 'value'",
		"a like 'x'":            "column 3: no operator is called like; write ==, !=, in, not in, contains, starts with or ends with",
		"a starts 'x'":          `column 3: starts without with; write "starts with"`,
		"a in 'x'":              "column 6: no list of values; write {'one', 'two'}",
		"a in {'x' 'y'}":        "column 11: no comma; write a comma between values and a } at the end",
		"a in {'x'":             "column 6: this { is never closed; write a } at its end",
		"has()":                 "column 5: has() without a label's key; write has(key), the key without quotes",
		"has(a":                 "column 6: has( is never closed; write a ) here",
		"any()":                 "column 1: no function is called any; write has(key), all() or global()",
		"&& a == 'x'":           "column 1: & without a test before it; write a test on both sides",
		"a == 'x' &&":           "column 12: the selector ends too early; write a test such as key == 'value'",
		"a == 'x' && é":         "column 13: unexpected 'é'; write a test such as key == 'value'",
		"!= 'x'":                "column 1: != without a label; write the label's key before it",
	} {
		_, err := selector.Parse(text)
		var e *selector.Error
		if !errors.As(err, &e) {
			t.Errorf("%q: no *Error but %v", text, err)
			continue
		}
		if e.Error() != want {
			t.Errorf("%q:\n got %s\nwant %s", text, e, want)
		}
	}
}

func TestBounds(t *testing.T) {
	for name, text := range map[string]string{
		"depth of parentheses": strings.Repeat("(", 3000) + "all()" + strings.Repeat(")", 3000),
		"depth of negations":   strings.Repeat("!", 3000) + "all()",
		"length":               "a in {'" + strings.Repeat("x", selector.MaxLength) + "'}",
		"key":                  strings.Repeat("k", 513) + " == 'x'",
		"key in has":           "has(" + strings.Repeat("k", 513) + ")",
	} {
		if _, err := selector.Parse(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	parse(t, strings.Repeat("(", selector.MaxDepth)+"all()"+strings.Repeat(")", selector.MaxDepth))
}

func TestNamespaces(t *testing.T) {
	for text, want := range map[string]string{
		"all()":                                "has(projectcalico.org/namespace)",
		"global()":                             "!has(projectcalico.org/namespace)",
		"!global()":                            "has(projectcalico.org/namespace)",
		"projectcalico.org/name == 'prod'":     "projectcalico.org/namespace == 'prod'",
		"kubernetes.io/metadata.name in {'a'}": "projectcalico.org/namespace in {'a'}",
		"global() || projectcalico.org/name == 'a'": "!has(projectcalico.org/namespace) || projectcalico.org/namespace == 'a'",
	} {
		s, err := selector.Namespaces(parse(t, text))
		if err != nil || s.String() != want {
			t.Errorf("%q: %v, %v, want %q", text, s, err, want)
		}
	}
	if _, err := selector.Namespaces(parse(t, "team == 'x'")); err == nil || !strings.Contains(err.Error(), "test projectcalico.org/name") {
		t.Errorf("a label that environments do not have: %v", err)
	}
}

func TestCoverTakesTheCheapestConjunct(t *testing.T) {
	cost := func(term selector.Term) int {
		return map[string]int{"env": 1000, "app": 20, "zone": 5}[term.Key]
	}
	for text, want := range map[string][]selector.Term{
		"env == 'prod' && app == 'web'":                {{Key: "app", Value: "web"}},
		"env == 'prod' && has(zone)":                   {{Key: "zone", Any: true}},
		"env == 'prod' && app in {'a', 'b'}":           {{Key: "app", Value: "a"}, {Key: "app", Value: "b"}},
		"(zone == 'x' || app == 'a') && env == 'prod'": {{Key: "zone", Value: "x"}, {Key: "app", Value: "a"}},
		"!has(zone) && app starts with 'w'":            {{Key: "app", Any: true}},
		"!has(zone) || app == 'w'":                     nil,
		"app != 'w'":                                   nil,
		"all()":                                        nil,
	} {
		got, ok := parse(t, text).Cover(cost)
		if ok != (want != nil) || len(got) != len(want) {
			t.Errorf("%q: %v, %v", text, got, ok)
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%q: %v, want %v", text, got, want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "all()", "a == 'x' && !has(b) || c in {'d', \"e\"}", "!(a starts with 'x')", "a not in {}", "x/y.z ends with '&&'", "((", "global() || a contains ''",
	} {
		f.Add(text)
	}
	labels := selector.Map{"a": "x", "b": "", "c": "d"}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := selector.Parse(text)
		if err != nil {
			var e *selector.Error
			if !errors.As(err, &e) || e.Column < 1 || e.Column > len(text)+1 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := selector.Parse(s.String())
		if err != nil {
			t.Fatalf("%q: the canonical form %q: %v", text, s, err)
		}
		if again.String() != s.String() {
			t.Fatalf("%q: %q is not canonical: %q", text, s, again)
		}
		if again.Matches(labels) != s.Matches(labels) {
			t.Fatalf("%q and %q differ", text, s)
		}
		if terms, ok := s.Cover(func(selector.Term) int { return 1 }); ok && s.Matches(labels) {
			for _, term := range terms {
				if v, has := labels[term.Key]; has && (term.Any || v == term.Value) {
					return
				}
			}
			t.Fatalf("%q matches, but no term of its cover %v", text, terms)
		}
	})
}

const typical = "app == 'payments' && env in {'prod', 'staging'} && !has(quarantine)"

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := selector.Parse(typical); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMatches(b *testing.B) {
	s := parse(b, typical)
	labels := selector.Map{"app": "payments", "env": "prod", "tier": "back", "team": "x", "zone": "a", "taskwall/app": "/shop/payments"}
	b.ReportAllocs()
	for b.Loop() {
		if !s.Matches(labels) {
			b.Fatal("no match")
		}
	}
}

func TestNever(t *testing.T) {
	for text, want := range map[string]bool{
		"a == 'x' && a == 'y'":               true,
		"a == 'x' && b == 'z' && a != 'x'":   true,
		"a in {'x', 'y'} && a not in {'x'}":  false,
		"a in {'x', 'y'} && a in {'z'}":      true,
		"has(a) && !has(a)":                  true,
		"a == 'x' && !has(a)":                true,
		"a != 'x' && !has(a)":                false,
		"a in {}":                            true,
		"a in {} || b == 'x'":                false,
		"a in {} || a == 'x' && a == 'y'":    true,
		"a == 'xy' && a starts with 'y'":     true,
		"a == 'x' && b == 'y'":               false,
		"!all()":                             true,
		"(a == 'x' || a == 'y') && a == 'z'": false, // not plain
	} {
		if got := parse(t, text).Never(); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
