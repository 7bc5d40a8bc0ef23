// Package policy says what is allowed: the resolver turns a changing set of
// endpoints, network sets and policies into postures, programs and set
// members, and tells only the differences; and it gives verdicts.
//
//	resources ── Apply ──▶ policies ─ selector ─▶ query ◀─ index ─ item ◀── PutEndpoint
//	                           │                   │  ▲              │
//	                           │ rules             │  members        │ the policies that select it
//	                           ▼                   ▼                 ▼
//	                        compiled ─ need ──▶  sets             posture ── program
//	                                               └────── Flush ────┘
//	                                                         ▼
//	                                                       Delta
//
// An item is an endpoint or a network set: what carries labels. A query is a
// selector in use, shared by all who use the same one; it knows its members. A
// posture is the ordered list of policies that apply to an endpoint; endpoints
// with equal lists share it. A program is a posture's rules. Sets are kept
// only while a program in use needs them.
//
// Ids are hashes of what they stand for, so equal states, however they came
// about, have equal ids: replaying all resources and endpoints into a new
// Resolver gives the same programs, sets and postures.
//
// Package resource reads and checks the resources, package selector is their
// selector language.
package policy
