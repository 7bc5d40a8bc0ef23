package containers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const getTasks = `{"type":"GET_TASKS"}`

// Nested returns the containers that are nested in those of executors, each
// with the task that it runs. Mesos's default executor says of a task that it
// is TASK_STARTING, and names its container, before it launches that: so a
// container is listed from before its CNI ADD until its task has ended, perhaps
// some milliseconds later than its ADD begins.
func (c *Client) Nested(ctx context.Context) ([]Container, error) {
	body, err := c.call(ctx, getTasks)
	if err != nil {
		return nil, err
	}
	return decodeTasks(body)
}

// containerID is a container's id with those of the containers that it is in.
type containerID struct {
	Value  string       `json:"value"`
	Parent *containerID `json:"parent"`
}

// maxNesting bounds how deep containers are in each other.
const maxNesting = 32

// String is the id as CNI sees it, "parent.child" (CLUSTER-API 5.4, 8).
func (id *containerID) String() string {
	var parts []string
	for ; id != nil && len(parts) < maxNesting; id = id.Parent {
		parts = append(parts, id.Value)
	}
	slices.Reverse(parts)
	return strings.Join(parts, ".")
}

func decodeTasks(body []byte) ([]Container, error) {
	var answer struct {
		Type string `json:"type"`
		Get  *struct {
			Launched []struct {
				Task      id `json:"task_id"`
				Framework id `json:"framework_id"`
				Executor  id `json:"executor_id"`
				Statuses  []struct {
					Container struct {
						ID *containerID `json:"container_id"`
					} `json:"container_status"`
				} `json:"statuses"`
			} `json:"launched_tasks"`
		} `json:"get_tasks"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAgent, err)
	}
	if answer.Get == nil && answer.Type == "GET_TASKS" {
		return nil, nil
	}
	if answer.Get == nil {
		return nil, fmt.Errorf("%w: it holds no get_tasks", ErrAgent)
	}
	var cs []Container
	for _, t := range answer.Get.Launched {
		if t.Task.Value == "" || t.Framework.Value == "" || t.Executor.Value == "" {
			continue
		}
		for _, s := range t.Statuses {
			if s.Container.ID == nil || s.Container.ID.Parent == nil {
				continue // none, or the executor's own
			}
			c := Container{ID: s.Container.ID.String(), Framework: t.Framework.Value, Executor: t.Executor.Value, Task: t.Task.Value}
			if !slices.Contains(cs, c) {
				cs = append(cs, c)
			}
		}
	}
	return cs, nil
}
