package mirror

import (
	"maps"
	"strings"
	"unicode/utf8"
)

// Bounds on what one thing may bring into the log, far above what real ones
// have. A message on JetStream may be 1 MiB, and one label must not keep its
// task from being known: even with all bounds reached, a thing fits.
const (
	MaxText     = 1 << 10  // an id, a label's key, a message, in bytes
	maxName     = 255      // a name in a list
	maxValue    = 8 << 10  // a label's value
	maxLabels   = 512      // labels of one thing
	maxEncoded  = 64 << 10 // the labels, or a list of names, of one thing, as JSON
	MaxNetworks = 8        // of one task
	MaxPorts    = 128      // of one thing
	maxNames    = 512      // in a list
)

// Limits reduces what is too much, and counts it. The zero value is ready. It
// is not safe for concurrent use.
type Limits struct {
	dropped map[string]uint64
}

// Drop counts something that was left out.
func (l *Limits) Drop(what string) {
	if l.dropped == nil {
		l.dropped = map[string]uint64{}
	}
	l.dropped[what]++
}

// Dropped is how much was left out, by what it was.
func (l *Limits) Dropped() map[string]uint64 { return maps.Clone(l.dropped) }

// Label is one label of a list.
type Label struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Labels makes a map of labels. A label that is too large is left out whole,
// never cut: half a value could match what the whole one does not. Of several
// with one key the first counts.
func (l *Limits) Labels(list []Label) map[string]string {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]string, min(len(list), maxLabels))
	size := 0
	for _, lb := range list {
		key, val := strings.ToValidUTF8(lb.Key, "\uFFFD"), strings.ToValidUTF8(lb.Value, "\uFFFD")
		_, had := m[key]
		grown := size + encoded(key) + encoded(val)
		if had || key == "" || len(key) > MaxText || len(val) > maxValue || len(m) == maxLabels || grown > maxEncoded {
			l.Drop("labels")
			continue
		}
		m[key], size = val, grown
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

// ID reports whether s can name a thing. What has another is left out: cut, it
// could be taken for something else.
func (l *Limits) ID(s string) bool {
	if s == "" || len(s) > MaxText || !utf8.ValidString(s) {
		l.Drop("ids")
		return false
	}
	return true
}

// Text is a message or the like, cut if it is too long.
func (l *Limits) Text(s string) string { return l.cut(s, MaxText) }

// Name is one of many names, cut if it is too long.
func (l *Limits) Name(s string) string { return l.cut(s, maxName) }

// Names are those of a list, as many as there is room for.
func (l *Limits) Names(list []string) []string {
	var names []string
	size := 0
	for _, s := range list {
		s = l.Name(s)
		if size += encoded(s); len(names) == maxNames || size > maxEncoded {
			l.Drop("names")
			break
		}
		names = append(names, s)
	}
	return names
}

func (l *Limits) cut(s string, n int) string {
	if len(s) > n {
		l.Drop("texts")
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// encoded is the most bytes that s can take in JSON, quotes and a comma
// included.
func encoded(s string) int {
	n := len(s) + 3
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '<' || c == '>' || c == '&' || c == '"' || c == '\\' || c == 0xE2 || c == 0x7F {
			n += 5 // as \u003c; 0xE2 begins U+2028 and U+2029
		}
	}
	return n
}
