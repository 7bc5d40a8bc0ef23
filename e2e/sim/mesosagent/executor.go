package mesosagent

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"

	"github.com/taskwall/taskwall/e2e/netns"
)

// endpoint is where executors find the agent.
func (a *Agent) endpoint() string { return net.JoinHostPort(a.cfg.Host, fmt.Sprint(a.cfg.Port)) }

// executorRegisters plays the executor, which lives in the container's
// namespace: it connects to the agent, and the agent may connect back
// (CLUSTER-API 5.4). It reports whether that worked in time; closing abort ends
// the attempt.
func (a *Agent) executorRegisters(c *container, abort <-chan struct{}) bool {
	if a.paper() || c.docker || a.cfg.DomainSockets || a.cfg.Listen == nil { // docker's executor is on the host
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.cfg.RegistrationTimeout)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() { // ends with the attempt
		select {
		case <-abort:
			cancel()
		case <-c.quit:
			cancel()
		case <-done:
		}
	}()
	ns := a.cfg.NS
	if len(c.networks) > 0 {
		ns = filepath.Join(a.cniDir(c), "ns")
	}
	if err := a.subscribeExecutor(ctx, c, ns); err != nil {
		a.cfg.Log.Warn("executor cannot reach the agent", "host", a.cfg.Hostname, "container", c.id, "err", err)
		return false
	}
	if !a.cfg.DialBack || len(c.networks) == 0 {
		return true
	}
	if err := a.dialBack(ctx, c, ns); err != nil {
		a.cfg.Log.Warn("agent cannot reach the executor", "host", a.cfg.Hostname, "container", c.id, "err", err)
		return false
	}
	return true
}

func (a *Agent) subscribeExecutor(ctx context.Context, c *container, ns string) error {
	conn, err := netns.Dial(ctx, ns, "tcp", a.endpoint())
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	body := fmt.Sprintf(`{"type":"SUBSCRIBE","executor_id":{"value":%q},"framework_id":{"value":%q},"subscribe":{}}`,
		c.executor.ExecutorID.Value, c.framework)
	if _, err := fmt.Fprintf(conn, "POST /api/v1/executor HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
		"Accept: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", a.endpoint(), len(body), body); err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 4096))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		return fmt.Errorf("agent answered %q", answer)
	}
	return nil
}

// dialBack is the agent's own connection to the executor's libprocess port.
func (a *Agent) dialBack(ctx context.Context, c *container, ns string) error {
	var l net.Listener
	err := netns.Do(ns, func() (err error) {
		l, err = net.Listen("tcp", "0.0.0.0:0")
		return err
	})
	if err != nil {
		return err
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	conn, err := netns.Dial(ctx, a.cfg.NS, "tcp", net.JoinHostPort(c.networks[0].ip4, port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// paperAttach gives a container on paper its addresses.
func (a *Agent) paperAttach(c *container) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range c.networks {
		a.paperIPs++
		if a.cfg.PaperIP != nil {
			c.networks[i].ip4 = a.cfg.PaperIP(a.cfg.Hostname, a.paperIPs)
			continue
		}
		n := a.cfg.IDs.IntN(1 << 24)
		c.networks[i].ip4 = fmt.Sprintf("9.%d.%d.%d", n>>16, n>>8&0xff, n&0xff)
	}
}
