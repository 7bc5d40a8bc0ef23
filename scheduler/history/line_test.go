package history

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// The head of a line means what it means to encoding/json, however it is
// written; so does a line that ends early. (Its body is read by who decodes it.)
func TestHeadsOfLinesAreReadAsJSON(t *testing.T) {
	t.Parallel()
	const body = `"item":{"host":"h1"}}`
	const link = "5e00000000000000000000000000000000000000000000000000000000000001"
	heads := []string{
		`{"seq":7,"time":"2026-03-01T13:00:00.5Z","host":"h1","epoch":1,`,
		`{"seq":7,"time":"2026-03-01T13:00:00+01:00","prev":"` + link + `","host":"h1","epoch":1,"writer":"w",`,
	}
	agree := func(head string) {
		t.Helper()
		text := head + body
		var want line
		wantErr := json.Unmarshal([]byte(text), &want)
		if wantErr == nil && want.Seq == 0 {
			wantErr = errLine
		}
		var got line
		if err := got.parse([]byte(text)); (err == nil) != (wantErr == nil) {
			t.Fatalf("%s: %v, encoding/json says %v", text, err, wantErr)
		}
		if wantErr == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: read as %+v, encoding/json reads %+v", text, got, want)
		}
	}
	for _, head := range heads {
		agree(head)
		for i := range head {
			agree(head[:i])
			for _, extra := range []string{" ", "0", `"`, `\`, "\xff", "é", "\x00", `"x":1,`} {
				agree(head[:i] + extra + head[i:])
				agree(head[:i] + extra + head[i+1:])
			}
		}
		// Times that a lenient parser takes.
		agree(strings.Replace(head, "T13:", "T3:", 1))
		agree(strings.Replace(head, ":00.5Z", ":00,5Z", 1))
	}
}
