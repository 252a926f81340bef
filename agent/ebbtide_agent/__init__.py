"""Ebbtide's agent: what runs on a machine, be it backed up, a receiver, or a recovery's."""

VERSION = "0.1.0"
