// Package story is the scenario that the demonstration shows and the
// whole-system test checks: a small shop with a web front, payments and an
// orders database, a batch job in another environment, an intruder without
// labels, and two machines outside the cluster that run nothing of ours.
//
//	office ──8080──▶ web ──8443──▶ payments ──5432──▶ orders-db
//	                  └──8125/udp──▶ ┘ └──1521──▶ ledger (outside)
//	report (staging), intruder: nobody
//
// A Stage runs it on this machine: hosts are network namespaces, the cluster is
// simulated (package sim), and everything of ours is a real process: one
// controller, an agent per host, the CNI plugin.
package story
