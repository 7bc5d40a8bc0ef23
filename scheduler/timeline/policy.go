package timeline

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// rules is what a posture allows, with the addresses that its rules name.
type rules struct {
	program work.Program
	sets    map[string][]string // members, sorted
}

func (t *Teller) rulesOf(posture string) rules {
	r := rules{sets: map[string][]string{}}
	r.program, _ = t.state.Resolver().Program(posture)
	for _, id := range r.program.SetIDs() {
		set, _ := t.state.Resolver().Set(id)
		r.sets[id] = set.Members
	}
	return r
}

// living are the subject's endpoints that have not ended, sorted.
func (t *Teller) living() []string {
	var ids []string
	for _, id := range events.SortedKeys(t.mine) {
		if !t.ended[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// policy tells a policy change if it is of the subject, or changes what the
// subject's endpoints may do.
func (t *Teller) policy(c *events.PolicyChange) (tell func()) {
	t.names = nil
	if t.subject.Policy != "" {
		return t.resource(c)
	}
	ids := t.living()
	postures := make([]string, len(ids))
	before := map[string]rules{}
	for i, id := range ids {
		postures[i] = t.state.Resolver().Posture(id)
		if _, known := before[postures[i]]; !known {
			before[postures[i]] = t.rulesOf(postures[i])
		}
	}
	return func() {
		after := map[string]rules{}
		closed, moved, ruled, peers, added, removed := 0, 0, 0, 0, 0, 0
		named := map[string]bool{} // the policies of the touched
		note := func(r rules) {
			for _, p := range r.program.Policies {
				named[p] = true
			}
		}
		sets := false
		for i, id := range ids {
			posture := t.state.Resolver().Posture(id)
			if _, known := after[posture]; !known {
				after[posture] = t.rulesOf(posture)
			}
			old, now := before[postures[i]], after[posture]
			switch {
			case posture == "" && postures[i] != "":
				closed++
			case posture != postures[i]:
				moved++
			case !sameRules(&old.program, &now.program):
				ruled++
			default:
				plus, minus := memberChanges(old.sets, now.sets)
				if plus+minus == 0 {
					continue
				}
				peers++
				added, removed, sets = max(added, plus), max(removed, minus), true
			}
			note(old)
			note(now)
			e, _ := t.state.Endpoint(id)
			t.keep(&e)
		}
		var parts []string
		if closed > 0 {
			parts = append(parts, "no policy selects "+tasks(closed, len(ids))+" any more: closed")
		}
		if moved > 0 {
			parts = append(parts, "other policies apply to "+tasks(moved, len(ids)))
		}
		if ruled > 0 {
			parts = append(parts, "the rules of "+tasks(ruled, len(ids))+" change")
		}
		if peers > 0 {
			parts = append(parts, fmt.Sprintf("the addresses that the rules of %s name change: %d more, %d less", tasks(peers, len(ids)), added, removed))
		}
		if len(parts) == 0 {
			return
		}
		ev := t.say("policy", nil, join(by(c), strings.Join(t.relevant(c, named, sets), ", "), strings.Join(parts, ", ")))
		ev.Author, ev.Commit = c.Author, c.Commit
		ev.App = t.subject.App
	}
}

// relevant are the changes to policies that are named, or else of what decides
// which addresses and tasks they mean; or else all.
func (t *Teller) relevant(c *events.PolicyChange, named map[string]bool, sets bool) []string {
	var direct, others []string
	note := func(verb string, k events.ResourceKey) {
		switch text := verb + " " + k.String(); {
		case named[k.String()]:
			direct = append(direct, text)
		case !strings.HasSuffix(k.Kind, "Policy") && k.Kind != "IPPool":
			others = append(others, text)
		}
	}
	for i := range c.Put {
		note("put", c.Put[i].ResourceKey)
	}
	for _, k := range c.Delete {
		note("delete", k)
	}
	if len(direct) == 0 || sets {
		direct = append(direct, others...)
	}
	const most = 5
	if n := len(direct); n > most {
		direct = append(direct[:most], fmt.Sprintf("%d more", n-most))
	}
	return direct
}

// resource tells what a change does to the subject, a resource.
func (t *Teller) resource(c *events.PolicyChange) (tell func()) {
	tell = func() {}
	is := func(k events.ResourceKey) bool {
		text := k.String()
		return text == t.subject.Policy || strings.TrimPrefix(text, k.Kind+" ") == t.subject.Policy
	}
	seen := func(k events.ResourceKey, verb, place string) {
		before := len(t.state.Resolver().Selected(k))
		next := tell
		tell = func() {
			next()
			text := join(by(c), verb+" "+k.String()+place)
			if r := t.state.Refusal(); r != nil && r.Seq == t.entry.Seq {
				text += ", refused: " + r.Error
			} else if strings.HasSuffix(k.Kind, "Policy") {
				text += fmt.Sprintf("; it selects %s, %d before", tasks(len(t.state.Resolver().Selected(k)), -1), before)
			}
			ev := t.say("policy", nil, text)
			ev.Author, ev.Commit = c.Author, c.Commit
		}
	}
	for i := range c.Put {
		if r := &c.Put[i]; is(r.ResourceKey) {
			verb := "put"
			if old, had := t.state.Resolver().Resource(r.ResourceKey); had && string(old.Body) == string(r.Body) {
				verb = "moved"
			}
			place := ""
			if r.File != "" {
				place = " (" + r.File + ":" + strconv.Itoa(r.Line) + ")"
			}
			seen(r.ResourceKey, verb, place)
		}
	}
	for _, k := range c.Delete {
		if is(k) {
			seen(k, "delete", "")
		}
	}
	return tell
}

// by is who changed the policies.
func by(c *events.PolicyChange) string {
	if c.Commit == "" {
		return c.Author
	}
	return c.Author + ", commit " + c.Commit
}

func tasks(n, of int) string {
	switch {
	case n < of:
		return fmt.Sprintf("%d of %d tasks", n, of)
	case n == 1:
		return "1 task"
	}
	return fmt.Sprintf("%d tasks", n)
}

func sameRules(a, b *work.Program) bool {
	return reflect.DeepEqual(a.Ingress, b.Ingress) && reflect.DeepEqual(a.Egress, b.Egress)
}

// memberChanges counts the addresses that enter and leave sets.
func memberChanges(old, now map[string][]string) (added, removed int) {
	for id, members := range now {
		a, r := difference(old[id], members)
		added, removed = added+a, removed+r
	}
	return added, removed
}

// difference compares sorted lists.
func difference(old, now []string) (added, removed int) {
	if slices.Equal(old, now) {
		return 0, 0
	}
	for len(old) > 0 && len(now) > 0 {
		switch {
		case old[0] == now[0]:
			old, now = old[1:], now[1:]
		case old[0] < now[0]:
			old, removed = old[1:], removed+1
		default:
			now, added = now[1:], added+1
		}
	}
	return added + len(now), removed + len(old)
}

// policies says which policies a posture has that another had not, and the
// other way round.
func (t *Teller) policies(old, now string) string {
	list := func(id string) []string {
		p, _ := t.state.Resolver().Program(id)
		return p.Policies
	}
	if now == "" {
		return "none, it is closed"
	}
	have, has := list(old), list(now)
	if old != "" && len(have) == 0 { // the old posture is nobody's any more
		return strings.Join(has, ", ")
	}
	var parts []string
	for _, p := range has {
		if !slices.Contains(have, p) {
			parts = append(parts, "with "+p)
		}
	}
	for _, p := range have {
		if !slices.Contains(has, p) {
			parts = append(parts, "without "+p)
		}
	}
	return strings.Join(parts, ", ")
}
