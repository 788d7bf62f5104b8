"""Programs that use a server of emotape: the recognizer's methods over HTTP, blocking and asynchronous."""
