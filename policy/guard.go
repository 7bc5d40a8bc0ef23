package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/policy/resource"
)

// The facts by which a LabelGuard knows an app.
const (
	appLabel   = "taskwall/app"
	groupLabel = "taskwall/group"
)

// Refusal is an app's claim that a LabelGuard does not let it make. The label
// is treated as if it were absent.
type Refusal struct {
	Endpoint string
	Label    string
	Value    string
	Guard    string // the LabelGuard's name
}

// guardSet is the guards in force, by the label that they guard; those of a
// label are sorted by name.
type guardSet map[string][]*resource.Guard

// refusals are the claims of an endpoint that guards refuse, sorted by label.
func (gs guardSet) refusals(e *Endpoint) []Refusal {
	var list []Refusal
	for label, guards := range gs {
		value, claimed := e.Labels[label]
		if !claimed {
			continue
		}
		for _, g := range guards {
			if !permits(g, value, e.Labels[appLabel], e.Labels[groupLabel]) {
				list = append(list, Refusal{e.ID, label, value, g.Metadata.Name})
				break
			}
		}
	}
	slices.SortFunc(list, func(a, b Refusal) int { return strings.Compare(a.Label, b.Label) })
	return list
}

func permits(g *resource.Guard, value, app, group string) bool {
	if len(g.Spec.Values) > 0 && !slices.Contains(g.Spec.Values, value) {
		return true // not a claim that it guards
	}
	return app != "" && slices.Contains(g.Spec.Apps, app) ||
		group != "" && slices.ContainsFunc(g.Spec.Groups, func(root string) bool {
			return root == "/" || group == root || strings.HasPrefix(group, root+"/")
		})
}

// apply returns the endpoint's labels and environment as policies see them.
// The map is the endpoint's own when nothing is refused.
func (gs guardSet) apply(e *Endpoint, environmentLabel string) (map[string]string, string) {
	refused := gs.refusals(e)
	if len(refused) == 0 {
		return e.Labels, e.Environment
	}
	labels, env := maps.Clone(e.Labels), e.Environment
	for _, r := range refused {
		delete(labels, r.Label)
		if r.Label == environmentLabel {
			env = ""
		}
	}
	return labels, env
}
