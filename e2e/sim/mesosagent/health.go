package mesosagent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/taskwall/taskwall/e2e/netns"
)

// probe runs a health check once, inside the task's namespace as Mesos does.
// Tasks on paper are healthy.
func (a *Agent) probe(c *container, t *taskRun, check *mesos.HealthCheck, timeout time.Duration) bool {
	if c.proc == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	ns := netns.OfPid(c.proc.pid())
	switch check.Type {
	case mesos.HealthCheck_TCP:
		conn, err := netns.Dial(ctx, ns, "tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(check.TCP.GetPort())))
		if err == nil {
			conn.Close()
		}
		return err == nil
	case mesos.HealthCheck_HTTP:
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			return netns.Dial(ctx, ns, network, addr)
		}
		client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet,
			fmt.Sprintf("http://127.0.0.1:%d%s", check.HTTP.GetPort(), check.HTTP.GetPath()), nil)
		if err != nil {
			return false
		}
		resp, err := client.Do(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode >= 200 && resp.StatusCode < 400
	default:
		cmd := netns.NewCommand(ctx, ns, "sh", "-c", check.Command.GetValue())
		cmd.Env, cmd.Dir = a.environment(c, t), filepath.Clean(a.sandbox(c))
		return cmd.Run() == nil
	}
}
