package policy

// Load puts the endpoints of a whole cluster, each once, into a resolver that
// has none, and returns the posture of each, in their order; "" is of one that
// no policy selects. All that follows from them and from the resources is taken
// as told: the next Delta says what changes after this.
func (r *Resolver) Load(endpoints []Endpoint) []string {
	r.endpoints.grow(len(endpoints))
	r.dirty = make([]*item, 0, len(endpoints))
	items := make([]*item, len(endpoints))
	for i := range endpoints {
		items[i] = r.item(endpoints[i].ID)
		r.putEndpoint(items[i], endpoints[i])
	}
	r.told()
	postures := make([]string, len(items))
	for i, it := range items {
		postures[i] = it.postureID()
	}
	return postures
}

// told is Flush for those who need no Delta.
func (r *Resolver) told() {
	r.settle()
	for _, it := range r.touched {
		it.touched, it.fresh, it.told = false, false, it.postureID()
	}
	r.touched = nil // it was as long as the cluster is large
	for p := range r.stale {
		p.told = true
	}
	clear(r.stale)
	r.gone = nil
	r.forgetOrphans()
	for s := range r.created {
		s.told = true
	}
	clear(r.created)
	for s := range r.edited {
		s.before = nil
	}
	clear(r.edited)
	r.dirty = nil
}
