package strict_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/policy/strict"
)

type person struct {
	Name  string            `json:"name"`
	Age   int               `json:"age"`
	Tall  bool              `json:"tall"`
	Size  *float64          `json:"size"`
	Tags  []string          `json:"tags"`
	Notes map[string]string `json:"notes"`
}

func read(t *testing.T, text string) ([]person, strict.Problems) {
	t.Helper()
	docs, problems := strict.Parse([]byte(text))
	var people []person
	for _, d := range docs {
		var p person
		problems = append(problems, d.Decode(&p, strict.Refusals{"person": {"weight": "it is private; leave it out"}})...)
		people = append(people, p)
	}
	return people, problems
}

func TestDocumentsAreNeverLost(t *testing.T) {
	for name, text := range map[string]string{
		"plain":            "name: a\n---\nname: b\n",
		"empty ones":       "---\n---\n\n---\n# comment\n---\nname: a\n---\n---\nname: b\n---\n",
		"comments":         "# head\nname: a # why\n# tail\n---\n# head\nname: b\n",
		"marks with text":  "--- # first\nname: a\n--- \nname: b",
		"ends":             "name: a\n...\n---\nname: b\n...\n",
		"carriage returns": "name: a\r\n---\r\nname: b\r\n",
		"byte order mark":  "\xef\xbb\xbfname: a\n---\nname: b\n",
		"JSON":             "{\"name\": \"a\"}\n---\n{\n\t\"name\":\t\"b\"\n}\n",
		"dashes in a text": "name: a\nnotes: {x: '--- no'}\n---\nname: b\n",
	} {
		people, problems := read(t, text)
		if len(problems) > 0 || len(people) != 2 || people[0].Name != "a" || people[1].Name != "b" {
			t.Errorf("%s: %+v %v", name, people, problems)
		}
	}
	if _, problems := read(t, "name: a\n...\nname: b\n"); len(problems) == 0 {
		t.Error("a second document without a mark is not noticed")
	}
}

func TestAProblemInOneDocumentHidesNoOther(t *testing.T) {
	people, problems := read(t, "name: [a\n---\nname: b\n---\nnaem: c\nweight: 7\n")
	if len(people) != 2 || people[0].Name != "b" || len(problems) != 3 {
		t.Fatalf("%+v\n%v", people, problems)
	}
	if got := problems[1].String(); got != "naem: unknown field; write name" || problems[1].Line != 5 {
		t.Errorf("%d: %s", problems[1].Line, got)
	}
	if got := problems[2].String(); got != "weight: this does not apply here: it is private; leave it out" {
		t.Error(got)
	}
}

func TestHostileFilesAreBounded(t *testing.T) {
	for name, text := range map[string]string{
		"brackets":   strings.Repeat("[", 1<<20),
		"maps":       strings.Repeat("{a: ", 1<<18),
		"dashes":     strings.Repeat("- ", 1<<18) + "x",
		"questions":  strings.Repeat("? ", 1<<18) + "x",
		"moderately": strings.Repeat("[", 60) + strings.Repeat("]", 60),
		"size":       strings.Repeat("x", 17<<20),
		"aliases":    "a: &a [x]\nb: [*a, *a]\n",
		"zeroes":     "name: \x00\x00",
		"no UTF-8":   "name: \xff\xfe",
	} {
		if people, problems := read(t, text); len(problems) == 0 {
			t.Errorf("%s: accepted as %+v", name, people)
		}
	}
}

// A file means what other readers of YAML, and people, see in it, or nothing.
func TestWhatCouldBeReadInTwoWays(t *testing.T) {
	for text, want := range map[string]string{
		"name: a\tb":                    "a tab inside of a value; write a blank, or the value in quotes",
		"age: 8\t0":                     "a tab inside of a value; write a blank, or the value in quotes",
		"tags: [80\t80]":                "a tab inside of a value; write a blank, or the value in quotes",
		"tags: [80:80\t80]":             "a tab inside of a value; write a blank, or the value in quotes",
		"tags: {x: [80:80\t80]}":        "no blank after the colon; write 80: and the value",
		"{tags: [80:&a 90]}":            "no blank after the colon; write 80: and the value",
		"{tags: [80:90, a:b:c]}":        "",
		"{tags: [80 :90]}":              "no blank after the colon; write 80: and the value",
		"{tags: [1:2: 3]}":              "no blank after the colon; write 1: and the value",
		"tags:\n-\nage: 1":              "it is indented like the - before it; indent it further, or remove the -",
		"tags:\n  - a\n  - \n  age: 1":  "it is indented like the - before it; indent it further, or remove the -",
		"na\tme: a":                     "a tab inside of a value; write a blank, or the value in quotes",
		"name: a ||\n  -b  # c\nage: 1": "a comment inside of a value; write the comment on a line before it, or the value in quotes",
		"name: a\n  - age: 1":           "a colon inside of a value; check where the lines before it begin, or write the value in quotes",
		"notes: {a:b: c}":               "no blank after the colon; write a: and the value",
		"{name:a}":                      "no blank after the colon; write name: and the value",
		"{name:'a'}":                    "no blank after the colon; write name: and the value",
		"{tags:- a}":                    "no blank after the colon; write tags: and the value",
		"age: 010":                      "010 is another number to some readers of YAML; write it without the 0 before it, or in quotes",
		"tags: [08]":                    "08 is another number to some readers of YAML; write it without the 0 before it, or in quotes",
		"name: a # \u202eb":             "the character U+202E cannot be seen; remove it",
		"name: a\u2028age: 1":           "the character U+2028 cannot be seen; remove it",
		"name: a\u0085age: 1":           "the character U+0085 cannot be seen; remove it",
		"name: a\n\ufeffage: 1":         "the character U+FEFF cannot be seen; remove it",
		"name:\ta\t# b\t\nage: 10":      "",
		"name: 'a\tb'":                  "",
		"name: a ||\n  b":               "",
		"name: '010'":                   "",
		"size: 0.5":                     "",
		"{tags:[a, b:c, \"d\"]}":        "",
		"{\"name\":\"a\",\"age\":1}":    "",
		"name: a#b":                     "",
		"name: |\n  a: b # c\n":         "",
		"name: ≠ 🙂":                     "",
	} {
		_, problems := read(t, text)
		got := ""
		if len(problems) > 0 {
			got = problems[0].String()
			if problems[0].Line == 0 {
				t.Errorf("%q: no line", text)
			}
		}
		if got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}

func TestAdviceOnWhatIsNoYAML(t *testing.T) {
	for text, want := range map[string]string{
		"name: {{ .Values.name }}":         "fill in the template first",
		"notes:\n\ta: b":                   "indent with blanks instead of tabs",
		"name: !has(x)":                    "put a value that begins with ! in quotes",
		"{name: !has(x)}":                  "put a value that begins with ! in quotes",
		"name: 'a' == 'b'":                 "put the whole value in quotes of the other kind",
		`{name: "a == "b""}`:               "put the whole value in quotes of the other kind",
		"{name: a in {'x', 'y'} }":         "close each { and [, and put a value that holds one of {}[], in quotes",
		"tags: [a":                         "close each { and [, and put a value that holds one of {}[], in quotes",
		"name: a\n  age: 1":                "check how far the line is indented, and put a value that holds : or # in quotes",
		"name: a: b":                       "check how far the line is indented, and put a value that holds : or # in quotes",
		"name: a\n---\nname: !has(x) || b": "put a value that begins with ! in quotes",
		"name: *x":                         "write the value in full",
		"<<: {name: x}":                    "write the value in full",
	} {
		_, problems := read(t, text)
		if len(problems) == 0 || problems[0].Line == 0 || !strings.HasSuffix(problems[0].Instead, want) {
			t.Errorf("%q: %v", text, problems)
		}
	}
}

func TestValuesOfTheWrongKind(t *testing.T) {
	for text, want := range map[string]string{
		"name: 1":            `name: 1 is not text; write it in quotes: "1"`,
		"name: yes":          "",
		"name: true":         `name: true is not text; write it in quotes: "true"`,
		"name: null":         "name: no value; write one, or remove the field",
		"age: '1'":           "age: not a whole number; write a whole number",
		"age: 1.5":           "age: not a whole number; write a whole number",
		"age: 99999999999":   "age: not a whole number; write a whole number",
		"size: 1":            "",
		"size: .inf":         "not a number that can be used; write a finite number",
		"tall: maybe":        "tall: not true or false; write true or false",
		"tags: x":            `tags: not a list; write each entry on a line of its own, after "- "`,
		"tags: [x, [y]]":     "tags[1]: not text; write text",
		"notes: {a: 1}":      `notes.a: 1 is not text; write it in quotes: "1"`,
		"notes: {1: a}":      "",
		"[name]":             "not a map of fields; write field: value",
		"{name: a, name: b}": `mapping key "name" already defined at line 1; remove one of them`,
	} {
		_, problems := read(t, text)
		got := ""
		if len(problems) > 0 {
			got = problems[0].String()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}
