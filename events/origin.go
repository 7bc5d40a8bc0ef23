package events

import (
	"slices"
	"time"
)

// RuleLines are the lines of a policy's rules in its file, in the order of the
// rules.
type RuleLines struct {
	Ingress []int `json:"ingress,omitempty"`
	Egress  []int `json:"egress,omitempty"`
}

// RuleLine is the line of a rule of a list, "ingress" or "egress". Where the
// log does not have it, as in older entries, it is the resource's own line.
func (r *Resource) RuleLine(list string, index int) int {
	if r.Lines == nil {
		return r.Line
	}
	lines := r.Lines.Egress
	if list == "ingress" {
		lines = r.Lines.Ingress
	}
	if index < 0 || index >= len(lines) {
		return r.Line
	}
	return lines[index]
}

func (l *RuleLines) equal(o *RuleLines) bool {
	if l == nil || o == nil {
		return l == o
	}
	return slices.Equal(l.Ingress, o.Ingress) && slices.Equal(l.Egress, o.Egress)
}

// SamePlace reports whether two resources, and their rules, were written at the
// same lines of the same file.
func (r *Resource) SamePlace(o *Resource) bool {
	return r.File == o.File && r.Line == o.Line && r.Lines.equal(o.Lines)
}

// Origin says by which change a policy resource got its present form. A change
// that only moves the resource in its files leaves it as it is.
type Origin struct {
	Author string    `json:"author"`
	Commit string    `json:"commit,omitempty"`
	Seq    uint64    `json:"seq"`           // of the change in the log
	Time   time.Time `json:"time,omitzero"` // when the log took it in; not known of old snapshots
	// Placed is the later commit whose files the resource's lines are those of;
	// empty when it is Commit.
	Placed string `json:"placed,omitempty"`
}
