package history

import "testing"

// Frame is a segment of lines as they are, in one frame whose header fits them,
// with their first and last sequence.
func Frame(t *testing.T, lines []string) (data []byte, first, last uint64) {
	t.Helper()
	var f frame
	var text []byte
	for _, s := range lines {
		var l line
		if err := l.parse([]byte(s)); err != nil {
			t.Fatal(err)
		}
		key, at, _ := l.mark()
		f.add(l.Seq, key, at)
		text = append(append(text, s...), '\n')
	}
	if len(lines) == 0 {
		return nil, 0, 0
	}
	data, err := f.pack(text)
	if err != nil {
		t.Fatal(err)
	}
	return data, f.First, f.Last
}
