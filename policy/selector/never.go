package selector

// Never reports whether it is plain that the selector can match nothing, as
// with "a == 'x' && a == 'y'", "has(a) && !has(a)" and "a in {}". False means
// that it may match something.
func (s *Selector) Never() bool { return s.root.never() }

func (n *node) never() bool {
	switch n.op {
	case opIn:
		return len(n.values) == 0
	case opNot:
		return n.kids[0].op == opAll || n.kids[0].op == opGlobal
	case opOr:
		for i := range n.kids {
			if !n.kids[i].never() {
				return false
			}
		}
		return true
	case opAnd:
		for i := range n.kids {
			if n.kids[i].never() {
				return true
			}
			for j := range i {
				if n.kids[i].excludes(&n.kids[j]) || n.kids[j].excludes(&n.kids[i]) {
					return true
				}
			}
		}
	}
	return false
}

// excludes reports whether two tests of one label plainly cannot both hold.
// The first must need the label; what it is compared with decides.
func (n *node) excludes(o *node) bool {
	if o.op == opNot && o.kids[0].op == opHas && o.kids[0].key == n.key {
		return n.op == opHas || n.op == opEq || n.op == opIn || n.op == opContains || n.op == opStartsWith || n.op == opEndsWith
	}
	var values []string
	switch n.op {
	case opEq:
		values = []string{n.value}
	case opIn:
		values = n.values
	default:
		return false
	}
	if o.key != n.key || o.key == "" {
		return false
	}
	for _, v := range values {
		if o.matches(Map{n.key: v}) {
			return false
		}
	}
	return true
}
