package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// DefaultSocket is where the daemon listens.
const DefaultSocket = "/var/run/docker.sock"

// ErrDaemon means that the daemon gave no usable answer.
var ErrDaemon = errors.New("the Docker daemon gave no answer")

// Container is what the daemon says of one container.
type Container struct {
	ID      string // the daemon's own
	PID     int    // of its first process, as the host sees it; 0 while it does not run
	Network string // the mode of docker run: "none", "host", "bridge", "container:ID", a network's name
}

// Client asks one daemon.
type Client struct{ http *http.Client }

// New returns a client of the daemon at a unix socket.
func New(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{&http.Client{
		Timeout:   2 * time.Second,
		Transport: &http.Transport{DialContext: dial, MaxIdleConns: 1, IdleConnTimeout: 10 * time.Second},
	}}
}

// Close lets go of an idle connection.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// maxAnswer bounds what is read: an inspection is some 10 KB and the container's environment.
const maxAnswer = 4 << 20

// Inspect looks a container up by its name. ok is false when there is none.
func (c *Client) Inspect(ctx context.Context, name string) (_ Container, ok bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/containers/"+url.PathEscape(name)+"/json", nil)
	if err != nil {
		return Container{}, false, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Container{}, false, fmt.Errorf("%w: %w", ErrDaemon, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return Container{}, false, fmt.Errorf("%w: reading it: %w", ErrDaemon, err)
	case resp.StatusCode == http.StatusNotFound:
		return Container{}, false, nil
	case resp.StatusCode != http.StatusOK:
		return Container{}, false, fmt.Errorf("%w: %s: %s", ErrDaemon, resp.Status, bytes.TrimSpace(body[:min(len(body), 200)]))
	case len(body) > maxAnswer:
		return Container{}, false, fmt.Errorf("%w: longer than %d bytes", ErrDaemon, maxAnswer)
	}
	var answer struct {
		ID    string `json:"Id"`
		State struct {
			Running bool
			Pid     int
		}
		HostConfig struct{ NetworkMode string }
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return Container{}, false, fmt.Errorf("%w: %w", ErrDaemon, err)
	}
	if answer.ID == "" || answer.State.Pid < 0 {
		return Container{}, false, fmt.Errorf("%w: it holds no container", ErrDaemon)
	}
	found := Container{ID: answer.ID, Network: answer.HostConfig.NetworkMode}
	if answer.State.Running {
		found.PID = answer.State.Pid
	}
	return found, true, nil
}
