package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// Names are written by whoever writes an app: none makes a terminal do anything, or
// a row of its own, and what programs read is not changed.
func TestNamesInAnAnswerAreOnlyShown(t *testing.T) {
	t.Parallel()
	const name = "we\u202eb\x1b[2J\nALLOWED\t/shop"
	var out bytes.Buffer
	w := &answer{w: &out}
	if err := table(w, []string{"APP", "HOST"}, []string{name, "h1"}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(out.String(), "\n"); len(got) != 3 || !strings.HasPrefix(got[1], `we\u202eb\u001b[2J\u000aALLOWED\u0009/shop  h1`) {
		t.Errorf("printed was\n%s", out.String())
	}
	out.Reset()
	if err := printJSON(w, name); err != nil || strings.ContainsAny(out.String(), "\u202e\x1b") {
		t.Errorf("%q, %v", out.String(), err)
	}
	var read string
	if err := json.Unmarshal(out.Bytes(), &read); err != nil || read != name {
		t.Errorf("read was %q, %v", read, err)
	}
}
