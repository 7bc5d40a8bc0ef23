// Package nflog reads the packets that rules with the target NFLOG hand over.
//
//	rule: -j NFLOG --nflog-group 84 --nflog-prefix "…" ─▶ Conn.Next ─▶ Packet
package nflog
