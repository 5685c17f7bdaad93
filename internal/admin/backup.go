package admin

import (
	"context"
	"encoding/json"
	"path/filepath"
)

// Keeper is what a broker with a store on disk implements beside Broker.
type Keeper interface {
	// Backup writes a copy of the store to dir, an absolute path that does not
	// exist, while the broker goes on.
	Backup(ctx context.Context, dir string) error
}

// backup copies the store to the directory named by the argument to.
func (c *Commands) backup(ctx context.Context, args json.RawMessage) (any, error) {
	var a struct {
		To string `json:"to"`
	}
	if err := arguments(args, &a); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(a.To) {
		return nil, badRequest("args: to must be an absolute path")
	}
	k, ok := c.broker.(Keeper)
	if !ok {
		return nil, badRequest("the broker has no store on disk")
	}
	if err := k.Backup(ctx, a.To); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}
