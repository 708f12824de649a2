document.title = 'talkd';
