package mesos

import (
	"strings"
	"unicode/utf8"
)

// Bounds on what one task, host or framework may bring into the log, far above
// what real ones have: a message on JetStream may be 1 MiB, and one label must
// not keep its task from being known.
const (
	maxText      = 1 << 10 // names and label keys, in bytes
	maxValue     = 8 << 10 // a label's value
	maxLabels    = 512     // labels of one thing
	maxLabelSize = 128 << 10
	maxMessage   = 1 << 10
	maxNetworks  = 64
	maxAddresses = 16 // of one network
	maxPorts     = 512
	maxRoles     = 64
	maxNesting   = 32 // of containers
)

// limits reduces what is too much, and counts it.
type limits struct {
	dropped map[string]uint64
}

func (l *limits) drop(what string) {
	if l.dropped == nil {
		l.dropped = map[string]uint64{}
	}
	l.dropped[what]++
}

// labels makes a map of labels. A label that is too large is left out whole,
// never cut: half a value could match what the whole one does not. Of several
// with one key the first counts.
func (l *limits) labels(w wireLabels) map[string]string {
	if len(w.Labels) == 0 {
		return nil
	}
	m := make(map[string]string, min(len(w.Labels), maxLabels))
	size := 0
	for _, lb := range w.Labels {
		key, val := strings.ToValidUTF8(lb.Key, "\uFFFD"), strings.ToValidUTF8(lb.Value, "\uFFFD")
		_, had := m[key]
		grown := size + len(key) + len(val)
		if had || key == "" || len(key) > maxText || len(val) > maxValue || len(m) == maxLabels || grown > maxLabelSize {
			l.drop("labels")
			continue
		}
		m[key], size = val, grown
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

// id reports whether s can name a thing. One that cannot is not told of: cut,
// it could be taken for another.
func (l *limits) id(s string) bool {
	if s == "" || len(s) > maxText || !utf8.ValidString(s) {
		l.drop("ids")
		return false
	}
	return true
}

// text is a name, cut if it is too long.
func (l *limits) text(s string) string { return l.cut(s, maxText, "names") }

// message is a status's text, which can hold a plugin's whole output.
func (l *limits) message(s string) string { return l.cut(s, maxMessage, "messages") }

func (l *limits) cut(s string, n int, what string) string {
	if len(s) > n {
		l.drop(what)
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
