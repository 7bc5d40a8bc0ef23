package firewall

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/taskwall/taskwall/agent/internal/nlattr"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Numbers of linux/netfilter/nf_tables.h and nfnetlink.h.
const (
	groupNFTables = 7          // NFNLGRP_NFTABLES
	newGeneration = 10<<8 | 15 // NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN
	genProcess    = 2          // NFTA_GEN_PROC_PID
)

// writers remembers the processes that we started to write rules, so that what
// they do is not taken for a stranger's work.
type writers struct {
	mu   sync.Mutex
	pids [64]uint32
	n    int
}

func (w *writers) add(pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pids[w.n%len(w.pids)] = uint32(pid)
	w.n++
}

func (w *writers) has(pid uint32) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pids {
		if p == pid && pid != 0 {
			return true
		}
	}
	return false
}

// Watch calls changed soon after another program wrote rules, until the
// context ends.
func (f *Firewall) Watch(ctx context.Context, changed func()) error {
	if f.tools.backend != NFT {
		return f.watchLegacy(ctx, changed)
	}
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("watching the rules: %w", err)
	}
	defer nl.Close()
	if err := nl.SetBPF(onlyGenerations); err != nil {
		return fmt.Errorf("watching the rules: %w", err)
	}
	if err := nl.JoinGroup(groupNFTables); err != nil {
		return fmt.Errorf("watching the rules: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { nl.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		ms, err := nl.Receive()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, unix.ENOBUFS) {
			changed() // messages were lost: there were many
			continue
		}
		if err != nil {
			return fmt.Errorf("watching the rules: %w", err)
		}
		for _, m := range ms {
			if m.Header.Type == newGeneration && len(m.Data) >= 4 && !f.tools.writers.has(generationWriter(m.Data[4:])) {
				changed()
				break
			}
		}
	}
}

// onlyGenerations keeps all messages out but the one that ends each change: a
// large write of ours has one for each rule, more than the socket holds, and what
// is lost could have been a stranger's.
var onlyGenerations = func() []bpf.RawInstruction {
	var typ [2]byte
	binary.NativeEndian.PutUint16(typ[:], newGeneration)
	const all = 1<<32 - 1 // bytes of the message
	p, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 2}, // nlmsg_type
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(binary.BigEndian.Uint16(typ[:])), SkipFalse: 1},
		bpf.RetConstant{Val: all},
		bpf.RetConstant{},
	})
	if err != nil {
		panic("firewall: a filter that cannot be: " + err.Error())
	}
	return p
}()

func generationWriter(b []byte) (pid uint32) {
	nlattr.Walk(b, func(t uint16, v []byte) {
		if t == genProcess && len(v) == 4 {
			pid = binary.BigEndian.Uint32(v)
		}
	})
	return pid
}
