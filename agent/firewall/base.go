package firewall

import (
	"fmt"
	"strconv"
	"strings"
)

// hook is a jump from a built-in chain that must be its first rule: what comes
// before it could let a packet pass that we would deny.
type hook struct{ builtin, chain string }

func (h hook) rule() string { return comment("taskwall: see chain " + h.chain)[1:] + " -j " + h.chain }

// base is the constant part of one table.
type base struct {
	hooks  []hook
	chains chains
}

// mangleBase drops what a task sends with an address that is not its own, before the
// kernel looks for a way: what has none, is too large or has gone too far the
// kernel answers itself, and the answer would go to the address's owner with a part of the
// packet in it. Then it writes the postures of a packet's sender and receiver in its mark.
func mangleBase() base {
	zero := fmt.Sprintf("-j MARK --set-xmark 0x0/%#x", ourBits)
	return base{
		hooks: []hook{{"PREROUTING", chainSource}, {"FORWARD", chainMark}, {"INPUT", chainMark}},
		chains: chains{
			chainSource: {
				"-i " + tasks + " -m set ! --match-set " + setSrc + " src,src" + comment("not the address of this interface") + " -g " + chainClosed,
			},
			chainMark: {
				"-i " + tasks + " " + zero,
				"-o " + tasks + " " + zero,
				"-i " + tasks + " -j SET --map-set " + setSrc + " src,src --map-mark",
				"-o " + tasks + " -j SET --map-set " + setDst + " dst,dst --map-mark",
			},
			// No packet comes here. In a namespace in which no rule asks for connections
			// the kernel tracks none: when somebody empties table filter it would miss
			// what is sent until that is mended, and take what follows on idle
			// connections for invalid.
			chainTracked: {
				"-m conntrack --ctstate ESTABLISHED" + comment("connections stay tracked while table filter is empty") + " -j RETURN",
			},
			chainClosed: unvouched(),
		},
	}
}

// filterBase decides. hostPorts are the TCP ports of the host that its tasks
// may always reach: the Mesos agent's (CLUSTER-API 5.4: the executor lives in
// the task's namespace).
func filterBase(hostPorts []uint16) base {
	noSender := fmt.Sprintf("-i %s -m mark --mark 0x0/%#x", tasks, egress.mask())
	noReceiver := fmt.Sprintf("-o %s -m mark --mark 0x0/%#x", tasks, ingress.mask())
	// Every way through ends in a verdict. A packet comes back here only when
	// someone emptied a chain: then nothing allowed it.
	fallen := comment("nothing decided") + " -g " + chainClosed
	holds := "-m conntrack --ctstate ESTABLISHED" + comment("the verdict on this connection holds")
	// Only errors are related without being asked about: the connections that
	// a helper (FTP) expects are opened by what a task says, and no policy allowed them.
	errorOf := "! -i " + tasks + " -p icmp -m conntrack --ctstate RELATED" + comment("an error of a connection that is allowed")
	// Connection tracking knows which connection an error is about, not whether its
	// sender takes part in it. A task is no router: of others' connections it has
	// nothing to say, and of its own that nobody listens.
	unreachable := func(code int) string {
		return fmt.Sprintf("-i %s -p icmp -m icmp --icmp-type 3/%d -m conntrack --ctstate RELATED", tasks, code) +
			comment("nobody listens, on a connection that is allowed") + " -g " + chainAccept
	}
	const noProtocol, noPort = 2, 3
	invalid := "-m conntrack --ctstate INVALID -g " + chainInvalid
	host := rules{
		"-m set ! --match-set " + setSrc + " src,src" + comment("not the address of this interface") + " -g " + chainClosed,
		holds + " -g " + chainAccept,
		unreachable(noPort),
		unreachable(noProtocol),
		invalid,
	}
	for len(hostPorts) > 0 {
		n := min(len(hostPorts), perMultiport)
		ports := make([]string, n)
		for i, p := range hostPorts[:n] {
			ports[i] = strconv.Itoa(int(p))
		}
		hostPorts = hostPorts[n:]
		host = append(host, "-p tcp -m multiport --dports "+strings.Join(ports, ",")+comment("failsafe: the Mesos agent")+" -g "+chainAccept)
	}
	host = append(host, "-g "+egress.name)
	return base{
		hooks: []hook{{"FORWARD", chainForward}, {"INPUT", chainInput}, {"OUTPUT", chainOutput}},
		chains: chains{
			chainForward: {
				"! -i " + tasks + " -o " + tasks + " -m set --match-set " + setOwn + " src" + comment("address of a task of this host, from elsewhere") + " -g " + chainClosed,
				noSender + comment("closed, or not the address of this interface") + " -g " + chainClosed,
				noReceiver + comment("closed, or not the address of this interface") + " -g " + chainClosed,
				"-i " + tasks + " -j " + chainTask,
				"-o " + tasks + " -j " + chainTask,
				"-i " + tasks + fallen,
				"-o " + tasks + fallen,
			},
			chainTask: {
				holds + " -g " + chainAccept,
				errorOf + " -g " + chainAccept,
				unreachable(noPort),
				unreachable(noProtocol),
				invalid,
				"-i " + tasks + " -g " + egress.name,
				"-g " + ingress.name,
			},
			chainAllowed: {
				"-o " + tasks + " -g " + ingress.name,
				"-g " + chainAccept,
			},
			chainInput: {
				"-i " + tasks + " -j " + chainHost,
				"-i " + tasks + fallen,
			},
			chainHost: host,
			chainOutput: {
				"-o " + tasks + " -m set --match-set " + setDst + " dst,dst" + comment("the host reaches its own tasks") + " -j ACCEPT",
				"-o " + tasks + " -j DROP",
			},
			chainAccept: {
				fmt.Sprintf("-j MARK --set-xmark 0x0/%#x", ourBits),
				"-j ACCEPT",
			},
			chainClosed: unvouched(),
			chainInvalid: {
				logLimit[1:] + comment("belongs to no connection") + fmt.Sprintf(` -j NFLOG --nflog-prefix "tw:deny:n invalid" --nflog-group %d`, LogGroup),
				"-j DROP",
			},
		},
	}
}

// unvouched logs and drops what nobody vouched for.
func unvouched() rules {
	return rules{
		logLimit[1:] + comment("closed endpoint, or not its address") + fmt.Sprintf(` -j NFLOG --nflog-prefix "tw:deny:c closed" --nflog-group %d`, LogGroup),
		"-j DROP",
	}
}

// filterBase6 closes IPv6 on every task's interface.
func filterBase6() base {
	return base{
		hooks: []hook{{"FORWARD", chainClosed}, {"INPUT", chainClosed}, {"OUTPUT", chainClosed}},
		chains: chains{chainClosed: {
			"-i " + tasks + comment("no IPv6 on tasks") + " -j DROP",
			"-o " + tasks + comment("no IPv6 on tasks") + " -j DROP",
		}},
	}
}
