// Package policy says what is allowed: the resources in Calico's
// projectcalico.org/v3 form, their selectors, and the resolver that turns a
// changing set of endpoints, network sets and policies into postures, programs
// and set members, and tells only the differences.
package policy
