// Package conntrack removes tracked connections, so that a verdict that no
// longer holds is not carried on by what was established under it.
//
// The kernel picks the entries (CTA_FILTER, Linux 5.8): the cost is one walk of
// its table, not a copy of it to user space and a call for each entry.
package conntrack
