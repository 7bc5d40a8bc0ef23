package attach

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
)

// Process is a process and its network namespace. A process id alone says
// little: the kernel gives it to another once its holder has ended.
type Process struct {
	PID     int
	Started uint64 // in clock ticks since the machine's start, as /proc has it
	ns      *os.File
}

// OpenProcess opens the network namespace of a process. The caller then makes
// sure that the process id still means whom he wants: until Close the namespace
// that was opened is the one that is meant, whoever has the id.
func OpenProcess(pid int) (*Process, error) {
	started, err := startOf(pid)
	if err != nil {
		return nil, err
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, fmt.Errorf("opening the namespace of process %d: %w", pid, errors.Join(ErrNamespace, err))
	}
	p := &Process{PID: pid, Started: started, ns: ns}
	if !Alive(pid, started) { // it ended in between, and another may have its id
		p.Close()
		return nil, fmt.Errorf("process %d: %w", pid, ErrNamespace)
	}
	return p, nil
}

// Close lets go of the namespace.
func (p *Process) Close() { p.ns.Close() }

// Path names the namespace for as long as it is open.
func (p *Process) Path() string { return fmt.Sprintf("/proc/self/fd/%d", p.ns.Fd()) }

// Alive says whether the process that started then is there.
func Alive(pid int, started uint64) bool {
	now, err := startOf(pid)
	return err == nil && now == started
}

// startOf reads when a process started: field 22 of its stat (proc(5)). Its
// name, field 2, may hold anything, also spaces and brackets. A process that ended
// and waits for its parent counts as gone.
func startOf(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("looking at process %d: %w", pid, errors.Join(ErrNamespace, err))
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const state, start = 0, 22 - 3 // what follows the name begins with field 3
	if len(fields) <= start || string(fields[state]) == "Z" || string(fields[state]) == "X" {
		return 0, fmt.Errorf("process %d has ended: %w", pid, ErrNamespace)
	}
	return strconv.ParseUint(string(fields[start]), 10, 64)
}

// Holds says whether the other end of the pair is in the process's namespace, with
// its address and its way out: it was attached before, to the end. ErrDiffers says
// what is not so.
func (h *Host) Holds(s Spec, p *Process) error {
	id, err := h.nl.GetNetNsIdByFd(int(p.ns.Fd()))
	if err != nil {
		return fmt.Errorf("telling the namespace of process %d: %w", p.PID, err)
	}
	link, err := h.rt.do(getLink(s.Veth))
	if err != nil {
		return errors.Join(ErrDiffers, err)
	}
	if id < 0 || link.away != id {
		return fmt.Errorf("the other end of %s is not with process %d: %w", s.Veth, p.PID, ErrDiffers)
	}
	s.Namespace = p.Path()
	return h.CheckTask(s)
}

// Isolated says whether the process has a network namespace of its own with
// nothing in it but loopback: what `docker run --net=none` makes. Anything else
// would be a way around the firewall; that is ErrShared.
func (h *Host) Isolated(p *Process) error {
	if own, err := isOwn(int(p.ns.Fd())); err != nil || own {
		if err == nil {
			err = fmt.Errorf("it is in the host's own network namespace: %w", ErrShared)
		}
		return fmt.Errorf("process %d: %w", p.PID, err)
	}
	nl, err := handle(int(p.ns.Fd()))
	if err != nil {
		return fmt.Errorf("entering the namespace of process %d: %w", p.PID, err)
	}
	defer nl.Close()
	links, err := nl.LinkList()
	for errors.Is(err, netlink.ErrDumpInterrupted) {
		links, err = nl.LinkList()
	}
	if err != nil {
		return fmt.Errorf("listing the interfaces of process %d: %w", p.PID, err)
	}
	for _, l := range links { // the kernel makes some of its own, which are down
		// These flags are of package net: its numbers are not the kernel's.
		if a := l.Attrs(); a.Flags&net.FlagUp != 0 && a.Flags&net.FlagLoopback == 0 {
			return fmt.Errorf("process %d has the interface %s: %w", p.PID, a.Name, ErrShared)
		}
	}
	return nil
}
