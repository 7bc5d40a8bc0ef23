package containers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrAgent means that the Mesos agent gave no usable answer.
var ErrAgent = errors.New("the Mesos agent gave no answer")

// Container is one that an executor runs in. A nested container, which has no
// executor of its own, is not listed.
type Container struct {
	ID        string
	Framework string
	Executor  string
	PID       int // of the executor; 0 when the agent does not know it
}

// Endpoint is the identity of the container's network endpoint.
func (c Container) Endpoint() string { return c.Framework + "/" + c.Executor }

// Client asks one Mesos agent.
type Client struct {
	url        string
	user, pass string
	http       *http.Client
	finder     finder
}

// New returns a client of the agent at base, e.g. "http://10.1.2.3:5051". A
// user and password in it are sent as HTTP basic credentials.
func New(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("the Mesos agent's address: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("the Mesos agent's address %q: want http://host:port", base)
	}
	c := &Client{http: &http.Client{Timeout: 5 * time.Second}}
	if u.User != nil {
		c.user = u.User.Username()
		c.pass, _ = u.User.Password()
		u.User = nil
	}
	c.url = strings.TrimSuffix(u.String(), "/") + "/api/v1"
	return c, nil
}

// maxAnswer bounds what is read: some thousand containers with statistics.
const maxAnswer = 32 << 20

const request = `{"type":"GET_CONTAINERS","get_containers":{"show_nested":false,"show_standalone":false}}`

// List returns the containers that the agent runs (CLUSTER-API 3.5). A
// container is listed from before its CNI ADD until after its DEL.
func (c *Client) List(ctx context.Context) ([]Container, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader([]byte(request)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if c.user != "" {
		req.SetBasicAuth(c.user, c.pass)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAgent, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: reading it: %w", ErrAgent, err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%w: %s: %s", ErrAgent, resp.Status, bytes.TrimSpace(body[:min(len(body), 200)]))
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrAgent, maxAnswer)
	}
	return decode(body)
}

func decode(body []byte) ([]Container, error) {
	type id struct {
		Value string `json:"value"`
	}
	var answer struct {
		Type string `json:"type"`
		Get  *struct {
			Containers []struct {
				Container id `json:"container_id"`
				Framework id `json:"framework_id"`
				Executor  id `json:"executor_id"`
				Status    struct {
					PID int `json:"executor_pid"`
				} `json:"container_status"`
			} `json:"containers"`
		} `json:"get_containers"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAgent, err)
	}
	if answer.Get == nil && answer.Type == "GET_CONTAINERS" {
		return nil, nil // how it says that there are none
	}
	if answer.Get == nil {
		return nil, fmt.Errorf("%w: it holds no get_containers", ErrAgent)
	}
	var cs []Container
	for _, c := range answer.Get.Containers {
		if c.Container.Value == "" || c.Framework.Value == "" || c.Executor.Value == "" {
			continue
		}
		cs = append(cs, Container{c.Container.Value, c.Framework.Value, c.Executor.Value, c.Status.PID})
	}
	return cs, nil
}
