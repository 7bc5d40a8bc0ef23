package containers

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/connect"
)

// ErrAgent means that the Mesos agent gave no usable answer.
var ErrAgent = errors.New("the Mesos agent gave no answer")

// Container is one that an executor runs in, or one that is nested in it and
// runs one of its tasks.
type Container struct {
	ID        string // "parent.child" of a nested one
	Framework string
	Executor  string
	Task      string // of a nested one
	PID       int    // of the executor; 0 when the agent does not know it
}

// Endpoint is the identity of the container's network endpoint, if it has one
// of its own.
func (c Container) Endpoint() string {
	if c.Task != "" {
		return events.NestedKey(c.Framework, c.Executor, c.Task)
	}
	return c.Framework + "/" + c.Executor
}

// Config says how to reach a Mesos agent. Only URL must be set.
type Config struct {
	// URL is the agent's base URL, e.g. "http://10.1.2.3:5051".
	URL string
	// User and Password are sent as HTTP Basic (realm mesos-agent-readwrite).
	User, Password string
	// TLS is used for an https URL; nil: the system's certificates.
	TLS *tls.Config
}

// Client asks one Mesos agent, by no proxy and whatever redirects it may send:
// its answers say whose container gets which endpoint's address.
type Client struct {
	client *connect.Client
	finder finder
}

// patience bounds a whole call. The agent gathers the statistics of all its
// containers for each answer: some seconds where there are many.
const patience = 10 * time.Second

// New returns a client of one agent.
func New(cfg Config) (*Client, error) {
	c, err := connect.NewClient(connect.Config{
		Servers: []string{cfg.URL}, TLS: cfg.TLS, Patience: patience,
		Credentials: connect.Credentials{User: cfg.User, Password: cfg.Password},
	})
	if err != nil {
		return nil, fmt.Errorf("the Mesos agent's address: %w", err)
	}
	return &Client{client: c}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.client.Close() }

// maxAnswer bounds what is read: some thousand containers with statistics.
const maxAnswer = 32 << 20

// Nested ones are left out: the agent tells no more than their ids.
const getContainers = `{"type":"GET_CONTAINERS","get_containers":{"show_nested":false,"show_standalone":false}}`

// List returns the containers of executors that the agent runs (CLUSTER-API
// 3.5). A container is listed from before its CNI ADD until after its DEL.
func (c *Client) List(ctx context.Context) ([]Container, error) {
	body, err := c.call(ctx, getContainers)
	if err != nil {
		return nil, err
	}
	return decode(body)
}

// call gives the answer to a call of the agent's operator API.
func (c *Client) call(ctx context.Context, request string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.client.First().String()+"/api/v1", strings.NewReader(request))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAgent, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %w", ErrAgent, c.client.Refused(resp))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: reading it: %w", ErrAgent, err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrAgent, maxAnswer)
	}
	return body, nil
}

type id struct {
	Value string `json:"value"`
}

func decode(body []byte) ([]Container, error) {
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
		cs = append(cs, Container{ID: c.Container.Value, Framework: c.Framework.Value, Executor: c.Executor.Value, PID: c.Status.PID})
	}
	return cs, nil
}
