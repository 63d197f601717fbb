"""What each verb of the command line does. Imported when the verb is called, so that `pellucid --help` stays quick."""
