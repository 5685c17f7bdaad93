package broker

// beforeOpen prepares the directory before the store in it is opened.
func (d *disk) beforeOpen() error { return nil }
