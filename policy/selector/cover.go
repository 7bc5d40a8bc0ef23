package selector

// Term is a label that a thing may carry: Key with Value, or Key with whatever
// value when Any is set.
type Term struct {
	Key   string
	Value string
	Any   bool
}

// Cover returns terms of which everything that the selector matches carries at
// least one, so that an index by terms finds all candidates. Of the possible
// choices it takes the cheapest by cost, which says how many things carry a
// term; of a list of terms the costs are added. It is false when the selector
// can match things whatever they carry, as "!has(a)" does.
func (s *Selector) Cover(cost func(Term) int) ([]Term, bool) {
	terms, _, ok := s.root.cover(cost)
	return terms, ok
}

func (n *node) cover(cost func(Term) int) (terms []Term, sum int, ok bool) {
	switch n.op {
	case opEq:
		terms = []Term{{Key: n.key, Value: n.value}}
	case opHas, opContains, opStartsWith, opEndsWith:
		terms = []Term{{Key: n.key, Any: true}}
	case opIn:
		terms = make([]Term, len(n.values))
		for i, v := range n.values {
			terms[i] = Term{Key: n.key, Value: v}
		}
	case opAnd:
		for i := range n.kids {
			t, c, found := n.kids[i].cover(cost)
			if found && (!ok || c < sum) {
				terms, sum, ok = t, c, true
			}
		}
		return terms, sum, ok
	case opOr:
		for i := range n.kids {
			t, c, found := n.kids[i].cover(cost)
			if !found {
				return nil, 0, false
			}
			terms, sum = append(terms, t...), sum+c
		}
		return terms, sum, true
	default:
		return nil, 0, false
	}
	for _, t := range terms {
		sum += cost(t)
	}
	return terms, sum, true
}
